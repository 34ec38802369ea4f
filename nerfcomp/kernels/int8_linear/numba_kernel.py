"""Integer linear layers on the CPU, blocks of rows in parallel. Notation as in `nerfcomp.kernels.int8_linear`.

Activations of a block are first brought into the words that the tile wants, where they stay in the innermost cache
while all weights pass by. The float operations on finished sums are those of the reference, one by one and unfused.
"""

from typing import Any

import numpy as np
from numba import prange

from nerfcomp.kernels.int8_linear.simd import COLUMNS, ROWS, add_few, add_more, add_most, add_products, finish_row
from nerfcomp.kernels.numba_setup import Array, Scalar, kernel, parallel_kernel

BLOCK = 8 * ROWS
_ROUNDER = np.float32(1.5 * 2**23)  # adding it leaves no bits for fractions: rounds half to even, up to 2^22
_QUANTIZED_AT_ONCE = 2**14
_GROUPS = (4, 2, 1)  # of words whose products are added in 16 bits
_LARGEST = 32767 // 255  # sum of weights whose products with bytes fit in 16 bits


def pack_weight(weight: Array, numbers: int) -> Array:
    """Arrange weights (N, K) int8 as (ceil(N / COLUMNS), words, COLUMNS) int32 words of 2 or 4 numbers, zeros around.

    There are as many words of 4 as groups of 4 words need.

    >>> pack_weight(np.array([[1, 2, 3]], np.int8), 2)[0, :, 0].tolist()
    [131073, 3]
    """
    rows, width = weight.shape
    words = -(-width // numbers)
    words += -words % _GROUPS[0] if numbers == 4 else 0
    padded = np.zeros((-(-rows // COLUMNS) * COLUMNS, words * numbers), np.int16 if numbers == 2 else np.int8)
    padded[:rows, :width] = weight
    in_words = padded.view(np.int32).reshape(-1, COLUMNS, words)
    return np.ascontiguousarray(in_words.transpose(0, 2, 1))


def groups_of(weight: Array) -> Array:
    """Of each panel of weights (N, K) int8, how many words may be added in 16 bits with any bytes: 4, 2, 1 or 0.

    A lane of 16 bits holds two products of every word; a positive and a negative one can only help each other.

    >>> groups_of(np.array([[64, 64], [-128, 0]], np.int8)).tolist(), groups_of(np.full((1, 99), 64, np.int8)).tolist()
    ([4], [1])
    >>> groups_of(np.array([[64, 65]], np.int8)).tolist()
    [0]
    """
    rows, width = weight.shape
    lanes = np.zeros((-(-rows // COLUMNS) * COLUMNS, -(-width // 16) * 4, 2, 2), np.int32)
    lanes.reshape(len(lanes), -1)[:rows, :width] = weight
    out = np.zeros(len(lanes) // COLUMNS, np.int8)
    for group in reversed(_GROUPS):
        words = lanes.reshape(len(out), -1, group, 2, 2)
        largest = np.maximum(words.clip(min=0).sum((2, 4)), words.clip(max=0).sum((2, 4)).__neg__())
        out[largest.reshape(len(out), -1).max(1) <= _LARGEST] = group
    return out


@kernel
def _widen(x: Array, begin: Scalar, end: Scalar, out: Array) -> None:
    """Copy rows of uint8 activations as 16 or 8 bits; what ``out`` has beyond them stays zero."""
    for row in range(begin, end):
        for k in range(x.shape[1]):
            out[row - begin, k] = x[row, k]


@kernel
def _multiply(wide: Array, rows: Scalar, weight: Array, panel: Scalar, groups: Array | None, sums: Array) -> None:
    """Sums of products of a block and a panel; a loop for each instruction, so that each keeps to the registers."""
    if groups is None:
        for row in range(0, rows, ROWS):
            add_products(wide, row, weight, panel, sums)
    elif groups[panel] == 4:
        for row in range(0, rows, ROWS):
            add_most(wide, row, weight, panel, sums)
    elif groups[panel] == 2:
        for row in range(0, rows, ROWS):
            add_more(wide, row, weight, panel, sums)
    else:
        for row in range(0, rows, ROWS):
            add_few(wide, row, weight, panel, sums)


@kernel
def _finish_edge(
    sums: Array,
    tile_row: Scalar,
    shift: Array,
    factor: Array,
    addend: Array,
    addend_row: Scalar,
    column: Scalar,
    lowest: Scalar,
    inverse: Scalar,
    zero_point: Scalar,
    row: Scalar,
    out: Array,
    out_bytes: Array,
) -> None:
    """What `finish_row` does, where fewer columns are left."""
    highest = np.float32(255 - zero_point)
    for n in range(column, len(factor)):
        y = np.float32(sums[tile_row, n - column] + shift[n]) * factor[n] + addend[addend_row, n]
        if len(out) > 0:
            out[row, n] = max(y, lowest)
        else:
            y = min(max(y * inverse, lowest), highest)
            out_bytes[row, n] = np.uint8(np.int32((y + _ROUNDER) - _ROUNDER) + zero_point)


@kernel
def _finish(
    sums: Array,
    rows: Scalar,
    scaling: Any,
    panel: Scalar,
    first: Scalar,
    relu: Scalar,
    inverse: Scalar,
    zero_point: Scalar,
    out: Array,
    out_bytes: Array,
) -> None:
    """Results of a block and a panel, in whichever of two arrays has rows; ``scaling``: shift, factor, addend."""
    if len(out) + len(out_bytes) == 0:
        return
    shift, factor, addend = scaling
    column = panel * COLUMNS
    lowest = np.float32(0 if relu else (-np.inf if len(out) > 0 else -zero_point))
    for row in range(first, first + rows):
        own = row if len(addend) > 1 else 0
        goal = (shift, factor, addend, own, column, lowest, inverse, zero_point, row)
        if column + COLUMNS > len(factor):
            _finish_edge(sums, row - first, *goal, out, out_bytes)
        elif len(out) > 0:
            finish_row(sums, row - first, *goal, out)
        else:
            finish_row(sums, row - first, *goal, out_bytes)


@kernel
def _rows(
    x: Array,
    begin: Scalar,
    end: Scalar,
    wide: Array,
    weight: Array,
    groups: Array | None,
    scaling: Any,
    relu: Scalar,
    out: Array,
    first_goal: Any,
    second_goal: Any,
) -> None:
    """Rows ``begin`` to ``end``; ``wide`` (BLOCK, words * numbers) is room for a block, zero at first."""
    sums = np.empty((BLOCK, COLUMNS), np.int32)
    for first in range(begin, end, BLOCK):
        rows = min(first + BLOCK, end) - first
        _widen(x, first, first + rows, wide)
        for panel in range(weight.shape[0]):
            _multiply(wide, rows, weight, panel, groups, sums)
            inverse, zero_point, integers = first_goal
            _finish(sums, rows, scaling, panel, first, relu, inverse, zero_point, out, integers)
            inverse, zero_point, integers = second_goal
            _finish(sums, rows, scaling, panel, first, relu, inverse, zero_point, out[:0], integers)


@parallel_kernel
def int8_linear_numba(
    x: Array,
    wide: Array,
    weight: Array,
    groups: Array | None,
    shift: Array,
    factor: Array,
    addend: Array,
    relu: Scalar,
    out: Array,
    first_goal: Any,
    second_goal: Any,
) -> None:
    """All rows, shared out among workers.

    Args:
        x: (M, K) uint8.
        wide: (workers, BLOCK, words * numbers) zeros, int16 for ``vpmaddwd``, uint8 for the others.
        weight: What `pack_weight` made for that type.
        groups: (panels,) int8, see `groups_of`, for the kernel of small weights; none for the others.
        shift: (N,) int32.
        factor: (N,) float32.
        addend: (1, N) or (M, N) float32.
        relu: Whether negative values become zero.
        out: (M, N) float32 for the result; or (0, N) when it is to be bytes.
        first_goal: 1 / scale, zero point and (M, N) uint8 for the result on a grid; or (0, N).
        second_goal: The same for another one.
    """
    share = -(-len(x) // (len(wide) * BLOCK)) * BLOCK
    for worker in prange(len(wide)):
        begin, end = worker * share, min((worker + 1) * share, len(x))
        scaling = (shift, factor, addend)
        _rows(x, begin, end, wide[worker], weight, groups, scaling, relu, out, first_goal, second_goal)


@parallel_kernel
def quantize_numba(x: Array, inverse: Scalar, zero_point: Scalar, workers: Scalar, out: Array) -> None:
    """Integers of values; both arrays are flat."""
    lowest, highest = np.float32(-zero_point), np.float32(255 - zero_point)
    for worker in prange(workers):
        for begin in range(worker * _QUANTIZED_AT_ONCE, len(x), workers * _QUANTIZED_AT_ONCE):
            for k in range(begin, min(begin + _QUANTIZED_AT_ONCE, len(x))):
                y = min(max(x[k] * inverse, lowest), highest)
                out[k] = np.uint8(np.int32((y + _ROUNDER) - _ROUNDER) + zero_point)
