"""The kernel behind :mod:`nerfcomp.codec.pyramid_coder`: levels of a wavelet pyramid, from coarse bands to fine ones.

A band is coded in blocks of 4 x 4 x 4, with one bit for whether there is anything in a block. A level is coded as the
answers to "more than 0?", "more than 1?" and so on, each predicted from what is known around it: neighbours in the
band, the coefficients that cover the same place in the band above and in the sister bands of the same size.

Notation:
    box       what one step of the transform turned into a low part, the next box, and up to seven bands
    size      absolute value of a level, in the neighbourhoods 255 at most
    question  0 to 14: is the size more than that; 15: is there anything in the block
"""

import numpy as np

from nerfcomp.codec.bit_models import MODELS, ONE, ContextModel, code_bit, kernel, learn, predict
from nerfcomp.codec.pyramid_contexts import (
    BLOCK,
    CONTEXTS,
    GRADES,
    QUESTIONS,
    block_contexts,
    look_around,
    question_contexts,
)

LONGEST = 15
TAIL = 64  # probabilities for what is beyond LONGEST
SLOTS, ROWS, REFINED = MODELS * QUESTIONS * CONTEXTS + TAIL, 24 * QUESTIONS, 16 * QUESTIONS
_BITS = -np.log2((np.arange(4096) + 0.5) / 4096)  # of a probability, in steps of 1/4096
_FURTHER_BITS = 1.5  # what one more than a size above 0 costs, about
_LEAST_STEP = 0.6  # below it a coefficient is not worth a block of its own
_SIGN_BITS = 1.3  # of a sign, and that the size is not larger
_TOO_SHORT = -(2**31) + 1


@kernel
def code_pyramid(
    model: ContextModel,
    levels: np.ndarray,
    steps: np.ndarray,
    bit_cost: float,
    boxes: np.ndarray,
    code: np.ndarray,
    decoding: bool,
) -> bool:
    """Code or decode a pyramid.

    Args:
        model: State of `SLOTS`, `ROWS` and `REFINED`, changed in place.
        levels: (X, Y, Z) int32; read, or filled when decoding or choosing.
        steps: (X, Y, Z) float32 coefficients in steps, from which levels are chosen; of size 0 to code ``levels``.
        bit_cost: Squared steps that a bit must save when levels are chosen.
        boxes: (L + 1, 3) int64, see `nerfcomp.kernels.lifting.boxes`.
        code: uint8, written from the coder's position on, or read.
        decoding: Which way.

    Returns:
        Whether ``code`` was long enough.
    """
    sizes = np.zeros(levels.shape, np.uint8)
    depth = len(boxes) - 1
    for index in range(7 * depth + 1):  # the value at the bottom of the pyramid, then seven bands of every box
        level = depth - (index + 6) // 7
        band = (index + 6) % 7 + 1 if index > 0 else 0
        low = boxes[min(level + 1, depth)]
        if not _code_band(
            model, levels, steps, bit_cost, sizes, boxes[level], low, band, min(depth - level, 15), code, decoding
        ):
            return False
    return True


@kernel
def _code_band(
    model: ContextModel,
    levels: np.ndarray,
    steps: np.ndarray,
    bit_cost: float,
    sizes: np.ndarray,
    box: np.ndarray,
    low: np.ndarray,
    band: int,
    grade: int,
    code: np.ndarray,
    decoding: bool,
) -> bool:
    """Code one band: the part of the box that is high along the axes whose bits are set in ``band``."""
    high = np.array([band >> 2 & 1, band >> 1 & 1, band & 1])
    start, count = high * low, high * (box - low) + (1 - high) * low
    if count.min() < 1:
        return True
    near = np.zeros((count[0] + 3, count[1] + 3, count[2] + 3), np.uint8)  # two layers of border in front, one behind
    blocks = (count + BLOCK - 1) // BLOCK
    filled = np.zeros((blocks[0] + 1, blocks[1] + 1, blocks[2] + 1), np.uint8)
    around = np.zeros(8, np.int64)
    for i in range(blocks[0]):
        for j in range(blocks[1]):
            for k in range(blocks[2]):
                first = (i * BLOCK, j * BLOCK, k * BLOCK)
                ends = (
                    min(first[0] + BLOCK, count[0]),
                    min(first[1] + BLOCK, count[1]),
                    min(first[2] + BLOCK, count[2]),
                )
                block_contexts(model.slots, around, sizes, start, first, ends, box, low, band, grade, filled)
                row_b = 15 * 16 + GRADES[min(around[0], 86)]
                row_c = 15 * 16 + GRADES[min(around[1], 86)]
                bit = 0 if decoding else _anything(levels, steps, start, first, ends)
                bit = _ask(model, 15 * 8 + band, 8 * QUESTIONS + row_b, row_c, bit, code, decoding)
                if bit < 0:
                    return False
                filled[i + 1, j + 1, k + 1] = bit
                if bit == 1 and not _code_block(
                    model,
                    levels,
                    steps,
                    bit_cost,
                    sizes,
                    near,
                    around,
                    start,
                    first,
                    ends,
                    box,
                    low,
                    band,
                    grade,
                    code,
                    decoding,
                ):
                    return False
    return True


@kernel
def _anything(
    levels: np.ndarray, steps: np.ndarray, start: np.ndarray, first: tuple[int, int, int], ends: tuple[int, int, int]
) -> int:
    """Whether a block has a level that is not 0, or a coefficient that may get one."""
    for x in range(start[0] + first[0], start[0] + ends[0]):
        for y in range(start[1] + first[1], start[1] + ends[1]):
            for z in range(start[2] + first[2], start[2] + ends[2]):
                if abs(steps[x, y, z]) > _LEAST_STEP if steps.size > 0 else levels[x, y, z] != 0:
                    return 1
    return 0


@kernel
def _code_block(
    model: ContextModel,
    levels: np.ndarray,
    steps: np.ndarray,
    bit_cost: float,
    sizes: np.ndarray,
    near: np.ndarray,
    around: np.ndarray,
    start: np.ndarray,
    first: tuple[int, int, int],
    ends: tuple[int, int, int],
    box: np.ndarray,
    low: np.ndarray,
    band: int,
    grade: int,
    code: np.ndarray,
    decoding: bool,
) -> bool:
    """Code the levels from ``first`` to before ``ends``, in coordinates of the band that begins at ``start``."""
    for x in range(first[0], ends[0]):
        for y in range(first[1], ends[1]):
            for z in range(first[2], ends[2]):
                at = (start[0] + x, start[1] + y, start[2] + z)
                look_around(around, near, sizes, x, y, z, at, box, low, band)
                value = float(steps[at]) if steps.size > 0 else 0.0
                choosing = steps.size > 0
                level = _code_level(model, around, levels[at], value, bit_cost, choosing, band, grade, code, decoding)
                if level == _TOO_SHORT:
                    return False
                levels[at] = level
                size = min(abs(level), 255)
                near[x + 2, y + 2, z + 2] = size
                sizes[at] = size
    return True


@kernel
def _code_level(
    model: ContextModel,
    around: np.ndarray,
    level: int,
    value: float,
    bit_cost: float,
    choosing: bool,
    band: int,
    grade: int,
    code: np.ndarray,
    decoding: bool,
) -> int:
    """Code, decode or choose one level; `_TOO_SHORT` when ``code`` is."""
    size = abs(level)
    for question in range(LONGEST):
        total = question_contexts(model.slots, around, question, band, grade)
        row_a, row_c = question * 8 + band, question * 16 + total
        row_b = 8 * QUESTIONS + row_c
        probability, mixed_a, mixed_b = predict(model, row_a, row_b, row_c)
        if choosing and question == 0:
            size = _chosen(abs(value), probability, bit_cost)
        more = code_bit(model.coder, code, probability, 1 if size > question else 0, decoding)
        if more < 0:
            return _TOO_SHORT
        learn(model, row_a, row_b, row_c, mixed_a, mixed_b, more)
        if more == 0:
            size = question
            break
    else:
        size = _code_tail(model, size, code, decoding)
        if size < 0:
            return _TOO_SHORT
    if size == 0:
        return 0
    negative = code_bit(model.coder, code, ONE // 2, 1 if (value < 0 if choosing else level < 0) else 0, decoding)
    if negative < 0:
        return _TOO_SHORT
    return -size if negative else size


@kernel
def _chosen(value: float, probability: int, bit_cost: float) -> int:
    """The size that costs least, error and bits together, of the nearest one, the next smaller one and 0."""
    best = int(value + 0.5)
    if best > 1 and (value - best + 1) ** 2 < (value - best) ** 2 + bit_cost * _FURTHER_BITS:
        best -= 1
    if best == 0:
        return 0
    bits = _BITS[probability >> 4] - _BITS[4095 - (probability >> 4)] + _SIGN_BITS + (best - 1) * _FURTHER_BITS
    return best if (value - best) ** 2 + bit_cost * bits < value**2 else 0


@kernel
def _ask(model: ContextModel, row_a: int, row_b: int, row_c: int, bit: int, code: np.ndarray, decoding: bool) -> int:
    """Code or decode one bit in the contexts of ``model.slots``; -1 when ``code`` is too short."""
    probability, mixed_a, mixed_b = predict(model, row_a, row_b, row_c)
    bit = code_bit(model.coder, code, probability, bit, decoding)
    if bit >= 0:
        learn(model, row_a, row_b, row_c, mixed_a, mixed_b, bit)
    return bit


@kernel
def _code_tail(model: ContextModel, size: int, code: np.ndarray, decoding: bool) -> int:
    """What is beyond `LONGEST`, in Exp-Golomb code with adaptive lengths; -1 when ``code`` is too short."""
    rest, length = size - LONGEST + 1, 0
    first = SLOTS - TAIL
    while True:
        slot = first + min(length, TAIL - 1)
        more = 1 if rest >> (length + 1) > 0 else 0
        more = code_bit(model.coder, code, min(max(model.probabilities[slot], 1024), ONE - 1024), more, decoding)
        if more < 0 or length > 24:
            return -1
        model.probabilities[slot] += (more * (ONE - 1) - model.probabilities[slot]) >> 4
        if more == 0:
            break
        length += 1
    found = 1
    for place in range(length - 1, -1, -1):
        bit = code_bit(model.coder, code, ONE // 2, rest >> place & 1, decoding)
        if bit < 0:
            return -1
        found = found << 1 | bit
    return found - 1 + LONGEST
