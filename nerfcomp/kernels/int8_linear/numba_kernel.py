"""Integer linear layers on the CPU, blocks of rows in parallel. Notation as in `nerfcomp.kernels.int8_linear`.

Activations of a block are first brought into the words that the tile wants, where they stay in the innermost cache
while all weights pass by. The float operations on finished sums are those of the reference, one by one and unfused.
"""

import numpy as np
from numba import prange

from nerfcomp.kernels.int8_linear.simd import COLUMNS, ROWS, add_products, finish_row
from nerfcomp.kernels.numba_setup import Array, Scalar, kernel, parallel_kernel

BLOCK = 8 * ROWS
_ROUNDER = np.float32(1.5 * 2**23)  # adding it leaves no bits for fractions: rounds half to even, up to 2^22
_QUANTIZED_AT_ONCE = 2**14


def pack_weight(weight: Array, numbers: int) -> Array:
    """Arrange weights (N, K) int8 as (ceil(N / COLUMNS), words, COLUMNS) int32 words of 2 or 4 numbers, zeros around.

    >>> pack_weight(np.array([[1, 2, 3]], np.int8), 2)[0, :, 0].tolist()
    [131073, 3]
    """
    rows, width = weight.shape
    words = -(-width // numbers)
    padded = np.zeros((-(-rows // COLUMNS) * COLUMNS, words * numbers), np.int16 if numbers == 2 else np.int8)
    padded[:rows, :width] = weight
    in_words = padded.view(np.int32).reshape(-1, COLUMNS, words)
    return np.ascontiguousarray(in_words.transpose(0, 2, 1))


@kernel
def _widen(x: Array, begin: Scalar, end: Scalar, out: Array) -> None:
    """Copy rows of uint8 activations as 16 or 8 bits; what ``out`` has beyond them stays zero."""
    for row in range(begin, end):
        for k in range(x.shape[1]):
            out[row - begin, k] = x[row, k]


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
def _rows(
    x: Array,
    begin: Scalar,
    end: Scalar,
    wide: Array,
    weight: Array,
    shift: Array,
    factor: Array,
    addend: Array,
    relu: Scalar,
    inverse: Scalar,
    zero_point: Scalar,
    out: Array,
    out_bytes: Array,
) -> None:
    """Rows ``begin`` to ``end``; ``wide`` (BLOCK, words * numbers) is room for a block, zero at first."""
    sums = np.empty((ROWS, COLUMNS), np.int32)
    if len(out) > 0:
        lowest = np.float32(0 if relu else -np.inf)
    else:
        lowest = np.float32(0 if relu else -zero_point)
    for first in range(begin, end, BLOCK):
        last = min(first + BLOCK, end)
        _widen(x, first, last, wide)
        for panel in range(weight.shape[0]):
            column = panel * COLUMNS
            for row in range(first, last, ROWS):
                add_products(wide, row - first, weight, panel, sums)
                for at in range(row, min(row + ROWS, last)):
                    own = at if len(addend) > 1 else 0
                    scaling = (shift, factor, addend, own, column, lowest, inverse, zero_point, at)
                    if column + COLUMNS > len(factor):
                        _finish_edge(sums, at - row, *scaling, out, out_bytes)
                    elif len(out) > 0:
                        finish_row(sums, at - row, *scaling, out)
                    else:
                        finish_row(sums, at - row, *scaling, out_bytes)


@parallel_kernel
def int8_linear_numba(
    x: Array,
    wide: Array,
    weight: Array,
    shift: Array,
    factor: Array,
    addend: Array,
    relu: Scalar,
    inverse: Scalar,
    zero_point: Scalar,
    out: Array,
    out_bytes: Array,
) -> None:
    """All rows, shared out among workers.

    Args:
        x: (M, K) uint8.
        wide: (workers, BLOCK, words * numbers) zeros, int16 for AVX2 or uint8 for VNNI.
        weight: What `pack_weight` made for that type.
        shift: (N,) int32.
        factor: (N,) float32.
        addend: (1, N) or (M, N) float32.
        relu: Whether negative values become zero.
        inverse: 1 / scale of the result.
        zero_point: Of the result.
        out: (M, N) float32 for the result; or (0, N) when it is to be bytes.
        out_bytes: (M, N) uint8 for it; or (0, N).
    """
    share = -(-len(x) // (len(wide) * BLOCK)) * BLOCK
    for worker in prange(len(wide)):
        begin, end = worker * share, min((worker + 1) * share, len(x))
        goal = (inverse, zero_point, out, out_bytes)
        _rows(x, begin, end, wide[worker], weight, shift, factor, addend, relu, *goal)


@parallel_kernel
def quantize_numba(x: Array, inverse: Scalar, zero_point: Scalar, workers: Scalar, out: Array) -> None:
    """Integers of values; both arrays are flat."""
    lowest, highest = np.float32(-zero_point), np.float32(255 - zero_point)
    for worker in prange(workers):
        for begin in range(worker * _QUANTIZED_AT_ONCE, len(x), workers * _QUANTIZED_AT_ONCE):
            for k in range(begin, min(begin + _QUANTIZED_AT_ONCE, len(x))):
                y = min(max(x[k] * inverse, lowest), highest)
                out[k] = np.uint8(np.int32((y + _ROUNDER) - _ROUNDER) + zero_point)
