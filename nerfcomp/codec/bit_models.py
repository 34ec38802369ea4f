"""Adaptive bit models, mixed, and a range coder, in integers: what coders of occupancies and coefficients share.

Six adaptive models look a bit up under contexts of the coder's choice; two small networks, trained on the way, mix them
in the logistic domain (Mahoney, "Adaptive weighing of context models for lossless data compression", 2005), a table
refines the mean of the two, and a carry-less binary range coder spends the bits. Coder and decoder run the same code.

Notation:
    probability  of a bit that is 1, times 65536
    stretched    ``256 * ln(p / (1 - p))``, limited to +-2047: the logistic domain
    slot         index of an adaptive probability; row: index of a set of mixing weights
"""

from typing import NamedTuple

import numba
import numpy as np

MODELS = 6
INPUTS = 2 * MODELS + 1
ONE = 65536
MIN_PROBABILITY = 24
COUNT_LIMIT = 127
MIXING_RATE = 20
FULL = 0xFFFFFFFF
WORD_BYTES = 4
kernel = numba.njit(cache=True, nogil=True, error_model="numpy")


class ContextModel(NamedTuple):
    """State of one coding pass: adaptive tables, range coder (low, high, code word, position), and scratch space."""

    probabilities: np.ndarray  # (slots,) int32
    counts: np.ndarray  # (slots,) int32, how often a slot was used
    mixers: np.ndarray  # (rows, INPUTS) int64, weight 1 is 65536
    refined: np.ndarray  # (refined rows, 33) int32
    coder: np.ndarray  # (4,) int64
    squash: np.ndarray  # (4096,) int64, probability of stretched - 2048
    stretch: np.ndarray  # (4096,) int64, stretched of probability >> 4
    rates: np.ndarray  # (COUNT_LIMIT + 1,) int64, adaptation rate by count, times 65536
    inputs: np.ndarray  # (INPUTS,) int64
    slots: np.ndarray  # (MODELS,) int64


def new_model(slots: int, rows: int, refined: int) -> ContextModel:
    """Return the state that coder and decoder start from.

    Args:
        slots: Adaptive probabilities.
        rows: Sets of mixing weights.
        refined: Rows of the refinement.

    >>> int(new_model(8, 2, 1).squash[2048])
    32768
    """
    squash = _squash_table()
    stretch = np.clip(np.searchsorted(squash, np.arange(4096) * 16 + 8) - 2048, -2047, 2047)
    mixers = np.zeros((rows, INPUTS), np.int64)
    mixers[:, : 2 * MODELS : 2] = ONE // 4
    knots = squash[np.clip(np.arange(33) * 128, 0, 4095)]
    return ContextModel(
        np.full(slots, ONE // 2, np.int32),
        np.zeros(slots, np.int32),
        mixers,
        np.tile(knots.astype(np.int32), (refined, 1)),
        np.array([0, FULL, 0, 0], np.int64),
        squash,
        stretch.astype(np.int64),
        ONE // (np.arange(COUNT_LIMIT + 1, dtype=np.int64) + 2),
        np.zeros(INPUTS, np.int64),
        np.zeros(MODELS, np.int64),
    )


def _squash_table() -> np.ndarray:
    """Tabulate ``65536 / (1 + exp(-x / 256))`` for x = -2048..2047 with Python's integers, exact on every machine."""
    unit = 1 << 64
    base, term = unit, unit
    for k in range(1, 12):  # the series of exp(1 / 256)
        term //= 256 * k
        base += term
    positive, odds = [], unit
    for _ in range(2049):
        positive.append((ONE * odds) // (unit + odds))
        odds = odds * base >> 64
    table = [ONE - positive[-x] if x < 0 else positive[x] for x in range(-2048, 2048)]
    return np.clip(np.array(table, np.int64), 16, ONE - 16)


def start_decoding(model: ContextModel, source: np.ndarray) -> None:
    """Read the first code word; ``source`` must have `WORD_BYTES` bytes."""
    for byte in source[:WORD_BYTES]:
        model.coder[2] = model.coder[2] << 8 | int(byte)
    model.coder[3] = WORD_BYTES


def finish_coding(model: ContextModel, code: np.ndarray) -> bytes:
    """The code with the last word behind it."""
    position = int(model.coder[3])
    return code[:position].tobytes() + int(model.coder[0]).to_bytes(WORD_BYTES, "big")


@kernel
def predict(model: ContextModel, row_a: int, row_b: int, row_c: int) -> tuple[int, int, int]:
    """Probability of a 1 in the contexts ``model.slots``; what both mixers said, for `learn`."""
    _stretch_inputs(model.inputs, model.slots, model.probabilities, model.stretch)
    mixed_a = _mix(model.mixers, row_a, model.inputs)
    mixed_b = _mix(model.mixers, row_b, model.inputs)
    mean = (mixed_a + mixed_b) >> 1
    knot = (mean + 2048) >> 7
    fraction = (mean + 2048) & 127
    refined = (model.refined[row_c, knot] * (128 - fraction) + model.refined[row_c, knot + 1] * fraction) >> 7
    probability = (model.squash[mean + 2048] + refined) >> 1
    return min(max(probability, MIN_PROBABILITY), ONE - MIN_PROBABILITY), mixed_a, mixed_b


@kernel
def learn(model: ContextModel, row_a: int, row_b: int, row_c: int, mixed_a: int, mixed_b: int, bit: int) -> None:
    """Learn from a bit that `predict` has been asked for."""
    _learn(model.mixers, row_a, model.inputs, (bit << 16) - model.squash[mixed_a + 2048])
    _learn(model.mixers, row_b, model.inputs, (bit << 16) - model.squash[mixed_b + 2048])
    mean = (mixed_a + mixed_b) >> 1
    knot = (mean + 2048) >> 7
    fraction = (mean + 2048) & 127
    target = bit * (ONE - 1)
    for slot in model.slots:
        count = model.counts[slot]
        model.probabilities[slot] += ((target - model.probabilities[slot]) * model.rates[count]) >> 16
        model.counts[slot] = min(count + 1, COUNT_LIMIT)
    nearest = knot + (fraction >> 6)
    model.refined[row_c, nearest] += (target - model.refined[row_c, nearest]) >> 6


@kernel
def _stretch_inputs(inputs: np.ndarray, slots: np.ndarray, probabilities: np.ndarray, stretch: np.ndarray) -> None:
    """Two inputs for each model, its stretched probability and its distance from one half, and a constant."""
    for index in range(MODELS):
        probability = probabilities[slots[index]]
        inputs[2 * index] = stretch[probability >> 4]
        inputs[2 * index + 1] = (probability - ONE // 2) >> 5
    inputs[INPUTS - 1] = 256


@kernel
def _mix(mixers: np.ndarray, row: int, inputs: np.ndarray) -> int:
    total = 0
    for index in range(INPUTS):
        total += mixers[row, index] * inputs[index]
    return min(max(total >> 16, -2047), 2047)


@kernel
def _learn(mixers: np.ndarray, row: int, inputs: np.ndarray, error: int) -> None:
    for index in range(INPUTS):
        mixers[row, index] += (inputs[index] * error * MIXING_RATE) >> 20


@kernel
def code_bit(coder: np.ndarray, code: np.ndarray, probability: int, bit: int, decoding: bool) -> int:
    """Code or decode one bit of the given probability of 1; -1 when ``code`` is too short."""
    low, high = coder[0], coder[1]
    span = high - low
    middle = low + (span >> 16) * probability + (((span & 0xFFFF) * probability) >> 16)
    if decoding:
        bit = 1 if coder[2] <= middle else 0
    if bit != 0:
        high = middle
    else:
        low = middle + 1
    while (low ^ high) & 0xFF000000 == 0:
        if coder[3] >= len(code):
            return -1
        if decoding:
            coder[2] = (coder[2] << 8 & FULL) | code[coder[3]]
        else:
            code[coder[3]] = high >> 24
        coder[3] += 1
        low, high = low << 8 & FULL, (high << 8 & FULL) | 255
    coder[0], coder[1] = low, high
    return int(bit)
