"""The statistical model and range coder behind :mod:`nerfcomp.codec.occupancy_coder`, in integers only.

Six adaptive bit models look at different neighbourhoods of a cell; two small networks, trained on the way, mix them in
the logistic domain (Mahoney, "Adaptive weighing of context models for lossless data compression", 2005), a table
refines the mean of the two, and a carry-less binary range coder spends the bits. Coder and decoder run the same code.

Notation:
    probability  of a set cell, times 65536
    stretched    ``256 * ln(p / (1 - p))``, limited to +-2047: the logistic domain
    octant       which of its parent's 2 x 2 x 2 children a cell is, 0 to 7
    slot         index of an adaptive probability; row: index of a set of mixing weights
"""

import itertools
from typing import NamedTuple

import numba
import numpy as np

PAD = 2
SETS = 3  # separate statistics for the finest level, the next one, and all others
MODELS = 6
INPUTS = 2 * MODELS + 1
SLOTS = 8192
ROWS = 64
REFINE_ROWS = 512
ONE = 65536
MIN_PROBABILITY = 24
COUNT_LIMIT = 127
MIXING_RATE = 20
FULL = 0xFFFFFFFF
# Steps (x, y, z) to the cells that predict one: those of its own level that are coded before it, first all 13 that
# touch it, then the next ones along the axes; and in the level above, its parent's 3 x 3 x 3 with the parent last.
_TOUCHING = ["..-", ".-.", "-..", ".--", "-.-", "--.", "---", ".-+", "-.+", "-+.", "--+", "-+-", "-++"]
_ABOVE = ["+..", ".+.", "..+", "++.", "+.+", ".++", "+++", "+-.", "+.-", ".+-", "-..", ".-.", "..-"]
KNOWN, SECOND, PARENTS = 13, 16, 43
_kernel = numba.njit(cache=True, nogil=True, error_model="numpy")


class ContextModel(NamedTuple):
    """State of one coding pass: adaptive tables, range coder (low, high, code word, position), and scratch space."""

    probabilities: np.ndarray  # (SETS * MODELS * SLOTS,) int32
    counts: np.ndarray  # (SETS * MODELS * SLOTS,) int32, how often a slot was used
    mixers: np.ndarray  # (2 * SETS * ROWS, INPUTS) int64, weight 1 is 65536
    refined: np.ndarray  # (SETS * REFINE_ROWS, 33) int32
    coder: np.ndarray  # (4,) int64
    squash: np.ndarray  # (4096,) int64, probability of stretched - 2048
    stretch: np.ndarray  # (4096,) int64, stretched of probability >> 4
    rates: np.ndarray  # (COUNT_LIMIT + 1,) int64, adaptation rate by count, times 65536
    inputs: np.ndarray  # (INPUTS,) int64
    slots: np.ndarray  # (MODELS,) int64


def neighbours() -> np.ndarray:
    """List the steps to all cells that predict one, (PARENTS, 3) int64.

    >>> neighbours()[[0, KNOWN, SECOND, -1]].tolist()
    [[0, 0, -1], [0, 0, -2], [1, 0, 0], [0, 0, 0]]
    """
    rest = sorted({"".join(steps) for steps in itertools.product("-.+", repeat=3)} - {*_ABOVE, "..."})
    names = [*_TOUCHING, *_TOUCHING[:3], *_ABOVE, *rest, "..."]
    steps = np.array([["-.+".index(letter) - 1 for letter in name] for name in names], np.int64)
    steps[KNOWN:SECOND] *= 2
    return steps


def new_model() -> ContextModel:
    """Return the state that coder and decoder start from.

    >>> int(new_model().squash[2048])
    32768
    """
    squash = _squash_table()
    stretch = np.clip(np.searchsorted(squash, np.arange(4096) * 16 + 8) - 2048, -2047, 2047)
    mixers = np.zeros((2 * SETS * ROWS, INPUTS), np.int64)
    mixers[:, : 2 * MODELS : 2] = ONE // 4
    knots = squash[np.clip(np.arange(33) * 128, 0, 4095)]
    return ContextModel(
        np.full(SETS * MODELS * SLOTS, ONE // 2, np.int32),
        np.zeros(SETS * MODELS * SLOTS, np.int32),
        mixers,
        np.tile(knots.astype(np.int32), (SETS * REFINE_ROWS, 1)),
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


@_kernel
def code_levels(
    model: ContextModel,
    cells: np.ndarray,
    sizes: np.ndarray,
    offsets: np.ndarray,
    near: np.ndarray,
    code: np.ndarray,
    decoding: bool,
) -> bool:
    """Code or decode all levels of one cascade, coarse to fine.

    Args:
        model: State, changed in place.
        cells: (total,) int8, padded levels one after another; read, or filled when decoding.
        sizes: (L, 3) int64 cells of each level, coarsest first.
        offsets: (L,) int64 start of each level in ``cells``.
        near: (L, 43) int64 distances in ``cells`` of a cell to its `neighbours`, level by level.
        code: uint8, written from the coder's position on, or read.
        decoding: Which way.

    Returns:
        Whether ``code`` was long enough.
    """
    for level in range(len(sizes)):
        above = max(level - 1, 0)
        kind = min(len(sizes) - 1 - level, SETS - 1)
        for x in range(sizes[level, 0]):
            for y in range(sizes[level, 1]):
                row = offsets[level] + ((x + PAD) * (sizes[level, 1] + 2 * PAD) + y + PAD) * (sizes[level, 2] + 2 * PAD)
                row_above = ((x >> 1) + PAD) * (sizes[above, 1] + 2 * PAD) + (y >> 1) + PAD
                row_above = offsets[above] + row_above * (sizes[above, 2] + 2 * PAD)
                for z in range(sizes[level, 2]):
                    parent = row_above + (z >> 1) + PAD if level > 0 else -1
                    if parent >= 0 and cells[parent] == 0:
                        continue
                    octant = (x & 1) << 2 | (y & 1) << 1 | (z & 1)
                    cell = row + z + PAD
                    if not _code_cell(
                        model, cells, cell, near[level], parent, near[above], octant, kind, code, decoding
                    ):
                        return False
    return True


@_kernel
def _code_cell(
    model: ContextModel,
    cells: np.ndarray,
    cell: int,
    near: np.ndarray,
    parent: int,
    near_parent: np.ndarray,
    octant: int,
    kind: int,
    code: np.ndarray,
    decoding: bool,
) -> bool:
    """Predict one cell, code or decode it, learn from it. Returns False when ``code`` is too short."""
    known = _gather(cells, cell, near, 0, KNOWN)
    if parent >= 0 and octant == 7 and known & 127 == 0:
        cells[cell] = 1  # its seven siblings are empty, so it must be the one that set the parent
        return True
    second = _gather(cells, cell, near, KNOWN, SECOND)
    parents = _gather(cells, parent, near_parent, SECOND, PARENTS) if parent >= 0 else 0
    row_a, row_b, row_c = _contexts(model.slots, known, second, parents, parent >= 0, octant, kind)
    _stretch_inputs(model.inputs, model.slots, model.probabilities, model.stretch)
    mixed_a = _mix(model.mixers, row_a, model.inputs)
    mixed_b = _mix(model.mixers, row_b, model.inputs)
    mean = (mixed_a + mixed_b) >> 1
    knot = (mean + 2048) >> 7
    fraction = (mean + 2048) & 127
    refined = (model.refined[row_c, knot] * (128 - fraction) + model.refined[row_c, knot + 1] * fraction) >> 7
    probability = (model.squash[mean + 2048] + refined) >> 1
    probability = min(max(probability, MIN_PROBABILITY), ONE - MIN_PROBABILITY)
    bit = _code_bit(model.coder, code, probability, cells[cell], decoding)
    if bit < 0:
        return False
    cells[cell] = bit
    _learn(model.mixers, row_a, model.inputs, (bit << 16) - model.squash[mixed_a + 2048])
    _learn(model.mixers, row_b, model.inputs, (bit << 16) - model.squash[mixed_b + 2048])
    target = bit * (ONE - 1)
    for slot in model.slots:
        count = model.counts[slot]
        model.probabilities[slot] += ((target - model.probabilities[slot]) * model.rates[count]) >> 16
        model.counts[slot] = min(count + 1, COUNT_LIMIT)
    nearest = knot + (fraction >> 6)
    model.refined[row_c, nearest] += (target - model.refined[row_c, nearest]) >> 6
    return True


@_kernel
def _gather(cells: np.ndarray, cell: int, near: np.ndarray, first: int, last: int) -> int:
    """Collect the cells at the distances ``near[first:last]`` into the bits of a number."""
    bits = 0
    for index in range(first, last):
        bits |= cells[cell + near[index]] << (index - first)
    return bits


@_kernel
def _ones(bits: int) -> int:
    total = 0
    while bits != 0:
        bits &= bits - 1
        total += 1
    return total


@_kernel
def _contexts(
    slots: np.ndarray, known: int, second: int, parents: int, has_parent: bool, octant: int, kind: int
) -> tuple[int, int, int]:
    """Find the six slots of a cell; return the rows of the two mixers and of the refinement."""
    faces, edges, corner, turned = known & 7, known >> 3 & 7, known >> 6 & 1, known >> 7 & 7
    ahead, behind, beyond = parents & 7, parents >> 10 & 7, parents & 1023
    turned_octant = (octant & 1) << 2 | (octant & 2) | octant >> 2
    next_parents = ahead | (7 - turned_octant) if has_parent else 0
    around, total = _ones(known), _ones(parents)
    slots[0] = known
    slots[1] = octant | ahead << 3 | behind << 6 | faces << 9
    slots[2] = faces | second << 3 | edges << 6 | next_parents << 9 | corner << 12
    slots[3] = octant + 8 * (total + 28 * around)
    slots[4] = faces | turned << 3 | ahead << 6 | next_parents << 9
    slots[5] = beyond | octant << 10
    for index in range(MODELS):
        slots[index] += (kind * MODELS + index) * SLOTS
    row_c = kind * REFINE_ROWS + (faces | turned << 3 | next_parents << 6)
    return kind * ROWS + (faces << 3 | octant), (SETS + kind) * ROWS + around, row_c


@_kernel
def _stretch_inputs(inputs: np.ndarray, slots: np.ndarray, probabilities: np.ndarray, stretch: np.ndarray) -> None:
    """Two inputs for each model, its stretched probability and its distance from one half, and a constant."""
    for index in range(MODELS):
        probability = probabilities[slots[index]]
        inputs[2 * index] = stretch[probability >> 4]
        inputs[2 * index + 1] = (probability - ONE // 2) >> 5
    inputs[INPUTS - 1] = 256


@_kernel
def _mix(mixers: np.ndarray, row: int, inputs: np.ndarray) -> int:
    total = 0
    for index in range(INPUTS):
        total += mixers[row, index] * inputs[index]
    return min(max(total >> 16, -2047), 2047)


@_kernel
def _learn(mixers: np.ndarray, row: int, inputs: np.ndarray, error: int) -> None:
    for index in range(INPUTS):
        mixers[row, index] += (inputs[index] * error * MIXING_RATE) >> 20


@_kernel
def _code_bit(coder: np.ndarray, code: np.ndarray, probability: int, bit: int, decoding: bool) -> int:
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
