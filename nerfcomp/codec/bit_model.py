"""The statistical model and range coder behind :mod:`nerfcomp.codec.bits`, in integers only.

Six adaptive bit models look at different neighbourhoods of a cell; two small networks, trained on the way, mix them in
the logistic domain (Mahoney, "Adaptive weighing of context models for lossless data compression", 2005), a table
refines the mean of the two, and a carry-less binary range coder spends the bits. Coder and decoder run the same code.

Notation:
    probability  of a set cell, times 65536
    stretched    ``256 * ln(p / (1 - p))``, limited to +-2047: the logistic domain
    octant       which of its parent's 2 x 2 x 2 children a cell is, 0 to 7
    slot         index of an adaptive probability; row: index of a set of mixing weights
"""

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
_kernel = numba.njit(cache=True, nogil=True, error_model="numpy")


class BitModel(NamedTuple):
    """State of one coding pass: adaptive tables, range coder (low, high, code word, position), and scratch space."""

    probabilities: np.ndarray  # (SETS * MODELS * SLOTS,) int32
    counts: np.ndarray  # (SETS * MODELS * SLOTS,) int32, how often a slot was used
    mixers: np.ndarray  # (2, SETS * ROWS, INPUTS) int64, weight 1 is 65536
    refined: np.ndarray  # (SETS * REFINE_ROWS, 33) int32
    coder: np.ndarray  # (4,) int64
    squash: np.ndarray  # (4096,) int64, probability of stretched - 2048
    stretch: np.ndarray  # (4096,) int64, stretched of probability >> 4
    rates: np.ndarray  # (COUNT_LIMIT + 1,) int64, adaptation rate by count, times 65536
    inputs: np.ndarray  # (INPUTS,) int64
    slots: np.ndarray  # (MODELS,) int64


def new_model() -> BitModel:
    """Return the state that coder and decoder start from.

    >>> int(new_model().squash[2048])
    32768
    """
    squash = _squash_table()
    stretch = np.clip(np.searchsorted(squash, np.arange(4096) * 16 + 8) - 2048, -2047, 2047)
    mixers = np.zeros((2, SETS * ROWS, INPUTS), np.int64)
    mixers[:, :, : 2 * MODELS : 2] = ONE // 4
    knots = squash[np.clip(np.arange(33) * 128, 0, 4095)]
    return BitModel(
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
    model: BitModel, cells: np.ndarray, sizes: np.ndarray, offsets: np.ndarray, code: np.ndarray, decoding: bool
) -> bool:
    """Code or decode all levels of one cascade, coarse to fine.

    Args:
        model: State, changed in place.
        cells: (total,) int8, padded levels one after another; read, or filled when decoding.
        sizes: (L, 3) int64 cells of each level, coarsest first.
        offsets: (L,) int64 start of each level in ``cells``.
        code: uint8, written from the coder's position on, or read.
        decoding: Which way.

    Returns:
        Whether ``code`` was long enough.
    """
    for level in range(len(sizes)):
        first = offsets[level]
        stride_y = sizes[level, 2] + 2 * PAD
        stride_x = stride_y * (sizes[level, 1] + 2 * PAD)
        above = max(level - 1, 0)
        parent_y = sizes[above, 2] + 2 * PAD
        parent_x = parent_y * (sizes[above, 1] + 2 * PAD)
        kind = min(len(sizes) - 1 - level, SETS - 1)
        for x in range(sizes[level, 0]):
            for y in range(sizes[level, 1]):
                for z in range(sizes[level, 2]):
                    cell = first + (x + PAD) * stride_x + (y + PAD) * stride_y + z + PAD
                    parent = -1
                    octant = (x & 1) << 2 | (y & 1) << 1 | (z & 1)
                    if level > 0:
                        parent = offsets[above] + ((x >> 1) + PAD) * parent_x + ((y >> 1) + PAD) * parent_y
                        parent += (z >> 1) + PAD
                        if cells[parent] == 0:
                            continue
                        if octant == 7 and _no_sibling(cells, cell, stride_x, stride_y):
                            cells[cell] = 1
                            continue
                    if not _code_cell(
                        model, cells, cell, stride_x, stride_y, parent, parent_x, parent_y, octant, kind, code, decoding
                    ):
                        return False
    return True


@_kernel
def _no_sibling(cells: np.ndarray, cell: int, stride_x: int, stride_y: int) -> bool:
    """Tell whether the seven siblings before the last child are empty, so that it must be set."""
    back, left = cell - stride_x, cell - stride_y
    both = back - stride_y
    seven = (
        cells[cell - 1] + cells[left] + cells[left - 1] + cells[back] + cells[back - 1] + cells[both] + cells[both - 1]
    )
    return bool(seven == 0)


@_kernel
def _code_cell(
    model: BitModel,
    cells: np.ndarray,
    cell: int,
    stride_x: int,
    stride_y: int,
    parent: int,
    parent_x: int,
    parent_y: int,
    octant: int,
    kind: int,
    code: np.ndarray,
    decoding: bool,
) -> bool:
    """Predict one cell, code or decode it, learn from it. Returns False when ``code`` is too short."""
    row_a, row_b, row_c = _contexts(
        model.slots, cells, cell, stride_x, stride_y, parent, parent_x, parent_y, octant, kind
    )
    _stretch_inputs(model)
    mixed_a = _mix(model, 0, row_a)
    mixed_b = _mix(model, 1, row_b)
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
    _learn(model, 0, row_a, (bit << 16) - model.squash[mixed_a + 2048])
    _learn(model, 1, row_b, (bit << 16) - model.squash[mixed_b + 2048])
    target = bit * (ONE - 1)
    for slot in model.slots:
        count = model.counts[slot]
        model.probabilities[slot] += ((target - model.probabilities[slot]) * model.rates[count]) >> 16
        model.counts[slot] = min(count + 1, COUNT_LIMIT)
    nearest = knot + (fraction >> 6)
    model.refined[row_c, nearest] += (target - model.refined[row_c, nearest]) >> 6
    return True


@_kernel
def _contexts(
    slots: np.ndarray,
    cells: np.ndarray,
    cell: int,
    stride_x: int,
    stride_y: int,
    parent: int,
    parent_x: int,
    parent_y: int,
    octant: int,
    kind: int,
) -> tuple[int, int, int]:
    """Find the six slots of a cell; return the rows of the two mixers and of the refinement."""
    back, left = cell - stride_x, cell - stride_y
    a, b, c = cells[cell - 1], cells[left], cells[back]
    d, e, f, g = cells[left - 1], cells[back - 1], cells[back - stride_y], cells[back - stride_y - 1]
    h, i, j = cells[left + 1], cells[back + 1], cells[back + stride_y]
    k, m, n = cells[back - stride_y + 1], cells[back + stride_y - 1], cells[back + stride_y + 1]
    faces = a | b << 1 | c << 2
    edges = d | e << 1 | f << 2
    known = faces | edges << 3 | g << 6 | h << 7 | i << 8 | j << 9 | k << 10 | m << 11 | n << 12
    around = a + b + c + d + e + f + g + h + i + j + k + m + n
    second = cells[cell - 2] | cells[cell - 2 * stride_y] << 1 | cells[cell - 2 * stride_x] << 2
    next_parents, ahead, behind, beyond, total = 0, 0, 0, 0, 0
    if parent >= 0:
        x, y, z = octant >> 2, octant >> 1 & 1, octant & 1
        next_parents = cells[parent + x * parent_x] | cells[parent + y * parent_y] << 1 | cells[parent + z] << 2
        ahead = cells[parent + parent_x] | cells[parent + parent_y] << 1 | cells[parent + 1] << 2
        behind = cells[parent - parent_x] | cells[parent - parent_y] << 1 | cells[parent - 1] << 2
        far = parent + parent_x
        beyond = ahead | cells[far + parent_y] << 3 | cells[far + 1] << 4 | cells[parent + parent_y + 1] << 5
        beyond |= cells[far + parent_y + 1] << 6 | cells[far - parent_y] << 7 | cells[far - 1] << 8
        beyond |= cells[parent + parent_y - 1] << 9
        for u in range(-1, 2):
            for v in range(-1, 2):
                line = parent + u * parent_x + v * parent_y
                total += cells[line - 1] + cells[line] + cells[line + 1]
    slots[0] = known
    slots[1] = octant | ahead << 3 | behind << 6 | faces << 9
    slots[2] = faces | second << 3 | edges << 6 | next_parents << 9 | g << 12
    slots[3] = octant + 8 * (total + 28 * around)
    slots[4] = faces | i << 3 | j << 4 | h << 5 | ahead << 6 | next_parents << 9
    slots[5] = beyond | octant << 10
    for index in range(MODELS):
        slots[index] += (kind * MODELS + index) * SLOTS
    row_c = kind * REFINE_ROWS + (faces | h << 3 | i << 4 | j << 5 | next_parents << 6)
    return kind * ROWS + (faces << 3 | octant), kind * ROWS + around, row_c


@_kernel
def _stretch_inputs(model: BitModel) -> None:
    """Two inputs for each model, its stretched probability and its distance from one half, and a constant."""
    for index in range(MODELS):
        slot = model.slots[index]
        probability = model.probabilities[slot]
        model.inputs[2 * index] = model.stretch[probability >> 4]
        model.inputs[2 * index + 1] = (probability - ONE // 2) >> 5
    model.inputs[INPUTS - 1] = 256


@_kernel
def _mix(model: BitModel, mixer: int, row: int) -> int:
    total = 0
    for index in range(INPUTS):
        total += model.mixers[mixer, row, index] * model.inputs[index]
    return min(max(total >> 16, -2047), 2047)


@_kernel
def _learn(model: BitModel, mixer: int, row: int, error: int) -> None:
    for index in range(INPUTS):
        model.mixers[mixer, row, index] += (model.inputs[index] * error * MIXING_RATE) >> 20


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
