"""The statistical model and range coder behind :mod:`nerfcomp.codec.occupancy_coder`: contexts of a cell.

Six adaptive bit models look at different neighbourhoods of a cell; see :mod:`nerfcomp.codec.bit_models`.

Notation:
    octant       which of its parent's 2 x 2 x 2 children a cell is, 0 to 7
    slot         index of an adaptive probability; row: index of a set of mixing weights
"""

import itertools

import numpy as np

from nerfcomp.codec.bit_models import MODELS, ContextModel, code_bit, kernel, learn, new_model, predict

PAD = 2
SETS = 3  # separate statistics for the finest level, the next one, and all others
SLOTS = 8192
ROWS = 64
REFINE_ROWS = 512
# Steps (x, y, z) to the cells that predict one: those of its own level that are coded before it, first all 13 that
# touch it, then the next ones along the axes; and in the level above, its parent's 3 x 3 x 3 with the parent last.
_TOUCHING = ["..-", ".-.", "-..", ".--", "-.-", "--.", "---", ".-+", "-.+", "-+.", "--+", "-+-", "-++"]
_ABOVE = ["+..", ".+.", "..+", "++.", "+.+", ".++", "+++", "+-.", "+.-", ".+-", "-..", ".-.", "..-"]
KNOWN, SECOND, PARENTS = 13, 16, 43


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


def new_occupancy_model() -> ContextModel:
    """Return the state that coder and decoder start from."""
    return new_model(SETS * MODELS * SLOTS, 2 * SETS * ROWS, SETS * REFINE_ROWS)


@kernel
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


@kernel
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
    probability, mixed_a, mixed_b = predict(model, row_a, row_b, row_c)
    bit = code_bit(model.coder, code, probability, cells[cell], decoding)
    if bit < 0:
        return False
    cells[cell] = bit
    learn(model, row_a, row_b, row_c, mixed_a, mixed_b, bit)
    return True


@kernel
def _gather(cells: np.ndarray, cell: int, near: np.ndarray, first: int, last: int) -> int:
    """Collect the cells at the distances ``near[first:last]`` into the bits of a number."""
    bits = 0
    for index in range(first, last):
        bits |= cells[cell + near[index]] << (index - first)
    return bits


@kernel
def _ones(bits: int) -> int:
    total = 0
    while bits != 0:
        bits &= bits - 1
        total += 1
    return total


@kernel
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
