"""Hash-grid encoding on the CPU. Notation as in `nerfcomp.kernels.hash_grid.torch_kernel`.

What bounds the speed is not arithmetic but waiting for table rows, which lie all over the memory. So points are taken
in blocks: the rows of a block are located and prefetched while the block before it is at work. Features are stored
plane by plane, (L * F, M), because a level then writes and reads whole cache lines (1.5x in the backward pass).

Threads draw tasks from a counter, finest level first. In the backward pass one thread owns one level: no atomic
additions, and sums do not depend on the number of threads.
"""

from typing import Any

import numpy as np
import torch
from numba import prange
from torch import Tensor

from nerfcomp.kernels.hash_grid.torch_kernel import PRIMES, reference_gradients
from nerfcomp.kernels.numba_intrinsics import (
    add_to_row,
    carray,
    float32_pointer,
    prefetch,
    set_number,
    take_number,
)
from nerfcomp.kernels.numba_setup import as_array, fast_kernel, parallel_kernel, worker_count

Array = np.ndarray[Any, Any]
_BLOCK = 64  # points whose rows are on their way while the block before is at work; both fit the first cache
_CHUNK = 16384  # points of one task of the forward pass
_ZERO, _HALF, _ONE = np.float32(0.0), np.float32(0.5), np.float32(1.0)
_NEXT = np.uint32(1)
_PRIME_Y, _PRIME_Z = np.uint32(PRIMES[1]), np.uint32(PRIMES[2])


@fast_kernel
def _split(plane: Array, scale: float, last: int, cell: Array, w: Array) -> None:
    """Cells and fractions along one axis; a NaN ends up in the fraction and never in the cell."""
    for i in range(len(plane)):
        value = plane[i]
        value = _ONE if value > _ONE else value
        value = _ZERO if value < _ZERO else value
        position = value * scale + _HALF
        below: Any = min(max(np.int32(position), np.int32(0)), last)
        cell[i] = below
        w[i] = position - np.float32(below)


@fast_kernel
def _hash_rows(x: Array, y: Array, z: Array, n: int, mask: int, rows: Array) -> None:
    """Rows of the eight corners of n cells on a hashed level; all numbers wrap at 32 bits."""
    for i in range(n):
        y0, z0 = np.uint32(y[i] * _PRIME_Y), np.uint32(z[i] * _PRIME_Z)
        y1, z1 = np.uint32(y0 + _PRIME_Y), np.uint32(z0 + _PRIME_Z)
        x0, x1 = x[i], np.uint32(x[i] + _NEXT)
        rows[0, i], rows[1, i] = (x0 ^ y0 ^ z0) & mask, (x1 ^ y0 ^ z0) & mask
        rows[2, i], rows[3, i] = (x0 ^ y1 ^ z0) & mask, (x1 ^ y1 ^ z0) & mask
        rows[4, i], rows[5, i] = (x0 ^ y0 ^ z1) & mask, (x1 ^ y0 ^ z1) & mask
        rows[6, i], rows[7, i] = (x0 ^ y1 ^ z1) & mask, (x1 ^ y1 ^ z1) & mask


@fast_kernel
def _wrap(index: int, entries: int) -> int:
    """``index % entries`` for an index below twice the entries."""
    return index - entries if index >= entries else index


@fast_kernel
def _dense_rows(x: Array, y: Array, z: Array, n: int, resolution: int, entries: int, rows: Array) -> None:
    """Rows of the eight corners of n cells on a dense level."""
    for i in range(n):
        low = np.uint32(x[i] + resolution * np.uint32(y[i] + resolution * z[i]))
        high = np.uint32(low + resolution * resolution)
        rows[0, i], rows[1, i] = _wrap(low, entries), _wrap(low + _NEXT, entries)
        rows[2, i], rows[3, i] = _wrap(low + resolution, entries), _wrap(low + resolution + _NEXT, entries)
        rows[4, i], rows[5, i] = _wrap(high, entries), _wrap(high + _NEXT, entries)
        rows[6, i], rows[7, i] = _wrap(high + resolution, entries), _wrap(high + resolution + _NEXT, entries)


@fast_kernel
def _locate(x: Array, begin: int, end: int, table: Array, scale: float, resolution: int, rows: Array, w: Array) -> None:
    """Find the eight rows (8, n) of every point of a block, and its fractions (3, n); ``x`` is (3, M)."""
    n, entries, lattice = end - begin, np.uint32(table.shape[0]), np.uint32(resolution)
    cells = np.empty((3, _BLOCK), np.uint32)
    for axis in range(3):
        _split(x[axis, begin:end], scale, np.int32(resolution - 1), cells[axis], w[axis])
    if table.shape[0] < resolution**3:
        _hash_rows(cells[0], cells[1], cells[2], n, np.uint32(entries - _NEXT), rows)
    else:
        _dense_rows(cells[0], cells[1], cells[2], n, lattice, entries, rows)


@fast_kernel
def _prefetch(table: Array, rows: Array, i: int) -> None:
    """Have the eight rows of a point brought closer."""
    for corner in range(8):
        prefetch(table, rows[corner, i])


@fast_kernel
def _corner_weights(w: Array, n: int, weights: Array) -> None:
    """Trilinear weights (8, n) from fractions (3, n)."""
    for i in range(n):
        wx, wy, wz = w[0, i], w[1, i], w[2, i]
        vx, vy, vz = _ONE - wx, _ONE - wy, _ONE - wz
        w0, w1, w2, w3 = vz * vy, vz * wy, wz * vy, wz * wy
        weights[0, i], weights[1, i], weights[2, i], weights[3, i] = w0 * vx, w0 * wx, w1 * vx, w1 * wx
        weights[4, i], weights[5, i], weights[6, i], weights[7, i] = w2 * vx, w2 * wx, w3 * vx, w3 * wx


@fast_kernel
def _plus_row(total: Any, table: Array, row: int, weight: float) -> Any:
    """``total + weight * table[row]``, where ``total`` is a tuple as long as a row."""
    for f in range(len(total)):
        total = set_number(total, f, total[f] + weight * table[row, f])
    return total


@fast_kernel
def _interpolate(table: Array, rows: Array, weights: Array, ahead: Array, planes: Array, zeros: Any) -> None:
    """Features (F, n) of the points of a block, whose rows are near; the next block's are called for in between."""
    for i in range(planes.shape[1]):
        _prefetch(table, ahead, i)
        total = zeros
        for corner in range(8):
            total = _plus_row(total, table, rows[corner, i], weights[corner, i])
        for f in range(len(zeros)):
            planes[f, i] = total[f]


@fast_kernel
def _scatter(table: Array, rows: Array, weights: Array, ahead: Array, planes: Array, zeros: Any) -> None:
    """Add the gradients (F, n) of a block's features to the rows they came from; otherwise as `_interpolate`."""
    for i in range(planes.shape[1]):
        _prefetch(table, ahead, i)
        grad = zeros
        for f in range(len(zeros)):
            grad = set_number(grad, f, planes[f, i])
        for corner in range(8):
            add_to_row(table, rows[corner, i], weights[corner, i], grad)


@fast_kernel
def _position_gradient(
    table: Array, rows: Array, w: Array, begin: int, end: int, planes: Array, features: Any, scale: float, out: Array
) -> None:
    """Add one level's gradients of a block's coordinates; ``out`` (3, M)."""
    for i in range(end - begin):
        wx, wy, wz = w[0, i], w[1, i], w[2, i]
        vx, vy, vz = _ONE - wx, _ONE - wy, _ONE - wz
        for f in range(len(features)):
            grad = scale * planes[f, begin + i]
            a0, a1 = table[rows[0, i], f], table[rows[1, i], f]
            b0, b1 = table[rows[2, i], f], table[rows[3, i], f]
            c0, c1 = table[rows[4, i], f], table[rows[5, i], f]
            d0, d1 = table[rows[6, i], f], table[rows[7, i], f]
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
    rows, w = np.zeros((2, 8, _BLOCK), np.uint32), np.empty((2, 3, _BLOCK), np.float32)
    weights = np.empty((8, _BLOCK), np.float32)
    for block in range(begin - _BLOCK, end, _BLOCK):
        now, ahead = block // _BLOCK & 1, block // _BLOCK + 1 & 1
        stop = min(block + _BLOCK, end)
        _locate(x, stop, min(stop + _BLOCK, end), table, scale, resolution, rows[ahead], w[ahead])
        if block < begin:
            continue
        _corner_weights(w[now], stop - block, weights)
        if action == 0:
            _interpolate(table, rows[now], weights, rows[ahead], planes[:, block:stop], features)
        else:
            _scatter(table, rows[now], weights, rows[ahead], planes[:, block:stop], features)


@parallel_kernel
def _run_tasks(action: int, x: Array, levels: Any, features: Any, planes: Array, workers: int) -> None:
    """Fill ``planes`` (L * F, M) from the tables (action 0), or the tables' gradients from ``planes`` (action 1).

    ``levels`` holds addresses, entries, scales and resolutions of the tables; address 0 is left out. A task is a chunk
    of points on one level, or for gradients a whole level, whose memory may hold anything before.
    """
    tables, entries, scales, resolutions = levels
    width, chunk = len(features), _CHUNK if action == 0 else max(x.shape[1], 1)
    chunks = (x.shape[1] + chunk - 1) // chunk if action == 0 else 1
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
                end = min(begin + chunk, x.shape[1])
                _run_level(action, x, begin, end, table, scales[level], resolutions[level], plane, features)
            task = take_number(counter)


@parallel_kernel
def _positions_backward(x: Array, levels: Any, features: Any, planes: Array, workers: int) -> Array:
    """Gradient of the coordinates, (3, M). A worker owns every ``workers``-th block of points."""
    tables, entries, scales, resolutions = levels
    width = len(features)
    out = np.zeros(x.shape, np.float32)
    for worker in prange(workers):
        rows, w = np.empty((8, _BLOCK), np.uint32), np.empty((3, _BLOCK), np.float32)
        for level in range(len(tables)):
            table = carray(float32_pointer(tables[level]), (entries[level], width))
            plane = planes[level * width : (level + 1) * width]
            for block in range(worker * _BLOCK, x.shape[1], workers * _BLOCK):
                stop = min(block + _BLOCK, x.shape[1])
                _locate(x, block, stop, table, scales[level], resolutions[level], rows, w)
                _position_gradient(table, rows, w, block, stop, plane, features, scales[level], out)
    return out


class _HashEncode(torch.autograd.Function):
    """Autograd around the kernels."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scales: Array, resolutions: Array, *tables: Tensor) -> Tensor:
        tables = tuple(table.contiguous() for table in tables)
        features = (np.float32(0.0),) * tables[0].shape[1]
        planes = torch.empty(len(tables) * len(features), len(x))
        ctx.geometry, ctx.features = (np.array([len(table) for table in tables]), scales, resolutions), features
        ctx.x = as_array(x.t())
        levels = (_addresses(tables), *ctx.geometry)
        _run_tasks(0, ctx.x, levels, features, planes.numpy(), worker_count())
        ctx.save_for_backward(*((x, *tables) if ctx.needs_input_grad[0] else ()))
        return planes.t()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled() and ctx.needs_input_grad[0]:  # they will be differentiated again, as normals are
            x, *tables = ctx.saved_tensors
            scales, resolutions = ctx.geometry[1].tolist(), ctx.geometry[2].tolist()
            wanted = (True, *ctx.needs_input_grad[3:])
            grad_x, *grads = reference_gradients(x, tables, scales, resolutions, grad, wanted)
            return grad_x, None, None, *grads
        (entries, _, _), features = ctx.geometry, ctx.features
        planes, workers = as_array(grad.t()), worker_count()
        needed = ctx.needs_input_grad[3:]
        grads = [torch.empty(n, len(features)) if need else None for n, need in zip(entries.tolist(), needed)]
        if any(needed):
            _run_tasks(1, ctx.x, (_addresses(grads), *ctx.geometry), features, planes, workers)
        if not ctx.needs_input_grad[0]:
            return None, None, None, *grads
        x, *tables = ctx.saved_tensors
        grad_x = _positions_backward(ctx.x, (_addresses(tables), *ctx.geometry), features, planes, workers)
        return torch.from_numpy(grad_x).t() * ((x >= 0) & (x <= 1)), None, None, *grads


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
