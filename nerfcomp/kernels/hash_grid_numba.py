"""Hash-grid encoding on the CPU. Notation as in `nerfcomp.kernels.hash_grid_torch`.

What bounds the speed is not arithmetic but waiting for table rows, which lie all over the memory. So points are taken
in blocks: the rows of a block are located and prefetched while the block before it is at work (2x). Features are stored
plane by plane, (L * F, M), because a level then writes and reads whole cache lines (1.5x in the backward pass).

Threads draw tasks from a counter, finest level first. In the backward pass one thread owns one level: no atomic
additions, and sums do not depend on the number of threads.
"""

from typing import Any

import numpy as np
import torch
from numba import prange
from torch import Tensor
from torch.autograd.function import once_differentiable

from nerfcomp.kernels.hash_grid_torch import PRIMES
from nerfcomp.kernels.numba_intrinsics import carray, float32_pointer, prefetch, take_number
from nerfcomp.kernels.numba_setup import as_array, fast_kernel, parallel_kernel, worker_count

Array = np.ndarray[Any, Any]
_BLOCK = 64  # points whose rows are on their way while the block before is at work; both fit the first cache
_CHUNK = 16384  # points of one task of the forward pass
_ZERO, _HALF, _ONE = np.float32(0.0), np.float32(0.5), np.float32(1.0)
_PRIME_Y, _PRIME_Z = np.uint32(PRIMES[1]), np.uint32(PRIMES[2])


@fast_kernel
def _split(coordinate: Any, scale: Any, last: Any) -> Any:
    """Cell (int32) and fraction (float32) along one axis; a NaN ends up in the fraction and never in the cell."""
    if coordinate < _ZERO:
        coordinate = _ZERO
    elif coordinate > _ONE:
        coordinate = _ONE
    position = coordinate * scale + _HALF
    cell = min(max(np.int32(position), np.int32(0)), last)
    return cell, position - np.float32(cell)


@fast_kernel
def _wrap(index: int, entries: int) -> int:
    """``index % entries`` for dense levels, whose indices stay below twice their entries."""
    return index - entries if index >= entries else index


@fast_kernel
def _locate(x: Array, begin: int, end: int, table: Array, scale: float, resolution: int, rows: Array, w: Array) -> None:
    """Find and prefetch the eight rows of every point of a block, and its fractions."""
    last, entries = np.int32(resolution - 1), np.uint32(table.shape[0])
    stride_y, stride_z = np.uint32(resolution), np.uint32(resolution * resolution)
    hashed, mask, one = table.shape[0] < resolution**3, entries - np.uint32(1), np.uint32(1)
    for i in range(end - begin):
        cell_x, w[i, 0] = _split(x[begin + i, 0], scale, last)
        cell_y, w[i, 1] = _split(x[begin + i, 1], scale, last)
        cell_z, w[i, 2] = _split(x[begin + i, 2], scale, last)
        left = np.uint32(cell_x)
        if hashed:
            low_y, low_z = np.uint32(cell_y) * _PRIME_Y, np.uint32(cell_z) * _PRIME_Z
            for corner in range(4):
                other = (low_y + _PRIME_Y * (corner & 1)) ^ (low_z + _PRIME_Z * (corner >> 1))
                rows[i, 2 * corner] = (left ^ other) & mask
                rows[i, 2 * corner + 1] = ((left + one) ^ other) & mask
        else:
            first = left + np.uint32(cell_y) * stride_y + np.uint32(cell_z) * stride_z
            for corner in range(4):
                row = first + stride_y * (corner & 1) + stride_z * (corner >> 1)
                rows[i, 2 * corner] = _wrap(row, entries)
                rows[i, 2 * corner + 1] = _wrap(row + one, entries)
        for corner in range(8):
            prefetch(table, rows[i, corner])


@fast_kernel
def _interpolate(table: Array, rows: Array, w: Array, begin: int, end: int, planes: Array, features: Any) -> None:
    """Features of the points of a block."""
    for i in range(end - begin):
        wx, wy, wz = w[i, 0], w[i, 1], w[i, 2]
        vx, vy, vz = _ONE - wx, _ONE - wy, _ONE - wz
        w0, w1, w2, w3 = vz * vy, vz * wy, wz * vy, wz * wy
        for f in range(len(features)):
            total = w0 * (vx * table[rows[i, 0], f] + wx * table[rows[i, 1], f])
            total += w1 * (vx * table[rows[i, 2], f] + wx * table[rows[i, 3], f])
            total += w2 * (vx * table[rows[i, 4], f] + wx * table[rows[i, 5], f])
            total += w3 * (vx * table[rows[i, 6], f] + wx * table[rows[i, 7], f])
            planes[f, begin + i] = total


@fast_kernel
def _scatter(table: Array, rows: Array, w: Array, begin: int, end: int, planes: Array, features: Any) -> None:
    """Add the gradients of a block's features to the rows they came from."""
    for i in range(end - begin):
        wx, wy, wz = w[i, 0], w[i, 1], w[i, 2]
        vx, vy, vz = _ONE - wx, _ONE - wy, _ONE - wz
        for f in range(len(features)):
            grad = planes[f, begin + i]
            low, high = vz * grad, wz * grad
            g0, g1, g2, g3 = vy * low, wy * low, vy * high, wy * high
            table[rows[i, 0], f] += vx * g0
            table[rows[i, 1], f] += wx * g0
            table[rows[i, 2], f] += vx * g1
            table[rows[i, 3], f] += wx * g1
            table[rows[i, 4], f] += vx * g2
            table[rows[i, 5], f] += wx * g2
            table[rows[i, 6], f] += vx * g3
            table[rows[i, 7], f] += wx * g3


@fast_kernel
def _position_gradient(
    table: Array, rows: Array, w: Array, begin: int, end: int, planes: Array, features: Any, scale: float, out: Array
) -> None:
    """Add one level's gradients of a block's coordinates; ``out`` (3, M)."""
    for i in range(end - begin):
        wx, wy, wz = w[i, 0], w[i, 1], w[i, 2]
        vx, vy, vz = _ONE - wx, _ONE - wy, _ONE - wz
        for f in range(len(features)):
            grad = scale * planes[f, begin + i]
            a0, a1 = table[rows[i, 0], f], table[rows[i, 1], f]
            b0, b1 = table[rows[i, 2], f], table[rows[i, 3], f]
            c0, c1 = table[rows[i, 4], f], table[rows[i, 5], f]
            d0, d1 = table[rows[i, 6], f], table[rows[i, 7], f]
            a, b, c, d = vx * a0 + wx * a1, vx * b0 + wx * b1, vx * c0 + wx * c1, vx * d0 + wx * d1
            slope_x = vz * (vy * (a1 - a0) + wy * (b1 - b0)) + wz * (vy * (c1 - c0) + wy * (d1 - d0))
            out[0, begin + i] += grad * slope_x
            out[1, begin + i] += grad * (vz * (b - a) + wz * (d - c))
            out[2, begin + i] += grad * (vy * (c - a) + wy * (d - b))


@fast_kernel
def _run_level(
    action: int,
    x: Array,
    begin: int,
    end: int,
    table: Array,
    scale: float,
    resolution: int,
    planes: Array,
    features: Any,
) -> None:
    """Take points [begin, end) through one level in blocks: interpolate (action 0) or scatter (action 1)."""
    rows, w = np.empty((2, _BLOCK, 8), np.uint32), np.empty((2, _BLOCK, 3), np.float32)
    _locate(x, begin, min(begin + _BLOCK, end), table, scale, resolution, rows[0], w[0])
    now = 0
    for block in range(begin, end, _BLOCK):
        stop = min(block + _BLOCK, end)
        _locate(x, stop, min(stop + _BLOCK, end), table, scale, resolution, rows[1 - now], w[1 - now])
        if action == 0:
            _interpolate(table, rows[now], w[now], block, stop, planes, features)
        else:
            _scatter(table, rows[now], w[now], block, stop, planes, features)
        now = 1 - now


@parallel_kernel
def _run_tasks(
    action: int,
    x: Array,
    tables: Array,
    entries: Array,
    scales: Array,
    resolutions: Array,
    features: Any,
    planes: Array,
    workers: int,
) -> None:
    """Fill ``planes`` (L * F, M) from the tables (action 0), or the tables' gradients from ``planes`` (action 1).

    A task is a chunk of points on one level, or a whole level for gradients, whose memory may hold anything before. A
    table at address 0 is left out.
    """
    width, chunk = len(features), _CHUNK if action == 0 else max(len(x), 1)
    chunks = (len(x) + chunk - 1) // chunk if action == 0 else 1
    counter = np.zeros(1, np.int64)
    for _ in prange(workers):
        task = take_number(counter)
        while task < len(tables) * chunks:
            level, begin = len(tables) - 1 - task // chunks, task % chunks * chunk
            if tables[level] != 0:
                table = carray(float32_pointer(tables[level]), (entries[level], width))
                if action == 1:
                    table[:] = _ZERO
                plane = planes[level * width : (level + 1) * width]
                end = min(begin + chunk, len(x))
                _run_level(action, x, begin, end, table, scales[level], resolutions[level], plane, features)
            task = take_number(counter)


@parallel_kernel
def _positions_backward(
    x: Array,
    tables: Array,
    entries: Array,
    scales: Array,
    resolutions: Array,
    features: Any,
    planes: Array,
    workers: int,
) -> Array:
    """Gradient of the coordinates, (3, M). A worker owns every ``workers``-th block of points."""
    width = len(features)
    out = np.zeros((3, len(x)), np.float32)
    for worker in prange(workers):
        rows, w = np.empty((_BLOCK, 8), np.uint32), np.empty((_BLOCK, 3), np.float32)
        for level in range(len(tables)):
            table = carray(float32_pointer(tables[level]), (entries[level], width))
            plane = planes[level * width : (level + 1) * width]
            for block in range(worker * _BLOCK, len(x), workers * _BLOCK):
                stop = min(block + _BLOCK, len(x))
                _locate(x, block, stop, table, scales[level], resolutions[level], rows, w)
                _position_gradient(table, rows, w, block, stop, plane, features, scales[level], out)
    return out


class _HashEncode(torch.autograd.Function):
    """Autograd around the kernels."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scales: Array, resolutions: Array, *tables: Tensor) -> Tensor:
        x, tables = x.contiguous(), tuple(table.contiguous() for table in tables)
        features = (0,) * tables[0].shape[1]
        planes = torch.empty(len(tables) * len(features), len(x))
        ctx.geometry = (np.array([len(table) for table in tables]), scales, resolutions, features)
        _run_tasks(0, as_array(x), _addresses(tables), *ctx.geometry, planes.numpy(), worker_count())
        ctx.save_for_backward(x, *(tables if ctx.needs_input_grad[0] else ()))
        return planes.t()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, *tables = ctx.saved_tensors
        entries, _, _, features = ctx.geometry
        planes, workers = as_array(grad.t()), worker_count()
        needed = ctx.needs_input_grad[3:]
        grads = [torch.empty(n, len(features)) if need else None for n, need in zip(entries.tolist(), needed)]
        if any(needed):
            _run_tasks(1, as_array(x), _addresses(grads), *ctx.geometry, planes, workers)
        if not tables:
            return None, None, None, *grads
        grad_x = torch.from_numpy(_positions_backward(as_array(x), _addresses(tables), *ctx.geometry, planes, workers))
        return grad_x.t() * ((x >= 0) & (x <= 1)), None, None, *grads


def _addresses(tensors: Any) -> Array:
    """Addresses of contiguous float32 tensors, 0 for None."""
    return np.array([0 if tensor is None else tensor.data_ptr() for tensor in tensors], np.int64)


def hash_encode_numba(
    x: Tensor, tables: list[Tensor], scales: tuple[float, ...], resolutions: tuple[int, ...]
) -> Tensor:
    """Do what `hash_encode_torch` does, for float32 tensors on the CPU.

    Args:
        x: (M, 3); coordinates outside [0, 1] are clamped to it. Differentiable once.
        tables: L tensors (T_l, F), all of the same F. Differentiable once.
        scales: Lattice spacings of each level.
        resolutions: Lattice points along one axis of each level.

    Returns:
        (M, L * F), stored plane by plane: the transpose is contiguous.

    >>> table = torch.arange(16.0).view(8, 2)
    >>> hash_encode_numba(torch.tensor([[0.0, 0.0, 0.5]]), [table, 2 * table], (1.0, 1.0), (2, 2)).tolist()
    [[11.0, 12.0, 22.0, 24.0]]
    """
    apply: Any = _HashEncode.apply
    out: Tensor = apply(x, np.array(scales, np.float32), np.array(resolutions), *tables)
    return out
