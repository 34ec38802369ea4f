"""Hash-grid encoding on GPUs. Notation as in `nerfcomp.kernels.hash_grid.torch_kernel`.

A program takes a block of points through one level, so that programs which run at the same time read the same table,
which the cache holds. Features are stored plane by plane, (L * F, M): a warp then writes whole cache lines. In tables
they are the last axis, so that reading a row, and adding a gradient to it, is one operation of all features. Sums of
gradients are float32; the order of their terms, and so the last bits, differs from run to run.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from nerfcomp.kernels.hash_grid.torch_kernel import reference_gradients
from nerfcomp.kernels.triton_setup import block_size, ceil_div, jit, launch, power_of_two, tl

_BLOCK = 256
_COLUMNS = 4  # of a level's geometry: address, entries, resolution, first row among the gradients


@jit
def _split(pointer: tl.tensor, points: tl.tensor, live: tl.tensor, scale: tl.tensor, last: tl.tensor) -> tl.tensor:
    """Cells and fractions along one axis; a NaN ends up in the fraction and never in the cell."""
    value = tl.load(pointer + points * 3, mask=live, other=0.0)
    value = tl.where(value > 1.0, 1.0, value)
    value = tl.where(value < 0.0, 0.0, value)
    position = value * scale + 0.5
    cell = tl.minimum(tl.maximum(position.to(tl.int32), 0), last)
    return cell, position - cell.to(tl.float32)


@jit
def _axes(
    x: tl.tensor, points: tl.tensor, live: tl.tensor, scale: tl.tensor, resolution: tl.tensor, entries: tl.tensor
) -> tl.tensor:
    """What the lower corner adds to the row along each axis, an upper one to that, and the weights of upper corners."""
    last, edge = (resolution - 1).to(tl.int32), resolution.to(tl.uint32)
    cx, wx = _split(x, points, live, scale, last)
    cy, wy = _split(x + 1, points, live, scale, last)
    cz, wz = _split(x + 2, points, live, scale, last)
    hashed = entries < resolution * resolution * resolution
    next_y = tl.where(hashed, tl.full([], 2654435761, tl.uint32), edge)
    next_z = tl.where(hashed, tl.full([], 805459861, tl.uint32), edge * edge)
    return cx.to(tl.uint32), cy.to(tl.uint32) * next_y, cz.to(tl.uint32) * next_z, next_y, next_z, wx, wy, wz


@jit
def _row(x: tl.tensor, y: tl.tensor, z: tl.tensor, resolution: tl.tensor, entries: tl.tensor) -> tl.tensor:
    """Table rows of lattice points."""
    last = (entries - 1).to(tl.uint32)
    if entries < resolution * resolution * resolution:
        row = (x ^ y ^ z) & last
    else:
        row = x + y + z
        row = tl.where(row > last, row - last - 1, row)
    return row.to(tl.int64)


@jit
def _level(levels: tl.tensor, level: tl.tensor) -> tl.tensor:
    """Table, entries and resolution of a level."""
    address = tl.load(levels + level * 4)
    table = tl.multiple_of(address.to(tl.pointer_type(tl.float32)), 16)
    return table, tl.load(levels + level * 4 + 1), tl.load(levels + level * 4 + 2)


@jit
def _forward(
    x: tl.tensor,
    number: tl.tensor,
    levels: tl.tensor,
    scales: tl.tensor,
    out: tl.tensor,
    FEATURES: tl.constexpr,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Features of a block of points on one level; ``WIDTH`` is ``FEATURES`` filled up to a power of two."""
    level = tl.program_id(1)
    table, entries, resolution = _level(levels, level)
    scale = tl.load(scales + level)
    points = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    feature = tl.arange(0, WIDTH)
    live = points < number
    mask = live[:, None] & (feature < FEATURES)[None, :]
    x0, y0, z0, next_y, next_z, wx, wy, wz = _axes(x, points, live, scale, resolution, entries)
    x1, y1, z1, vx, vy, vz = x0 + 1, y0 + next_y, z0 + next_z, 1.0 - wx, 1.0 - wy, 1.0 - wz
    total = tl.zeros([BLOCK, WIDTH], tl.float32)
    for corner in tl.static_range(8):
        dx, dy, dz = corner & 1, corner >> 1 & 1, corner >> 2
        weight = (wx if dx else vx) * (wy if dy else vy) * (wz if dz else vz)
        row = _row(x1 if dx else x0, y1 if dy else y0, z1 if dz else z0, resolution, entries)
        total += weight[:, None] * tl.load(table + row[:, None] * FEATURES + feature[None, :], mask=mask, other=0.0)
    plane = (level * FEATURES + feature).to(tl.int64)
    tl.store(out + plane[None, :] * number + points[:, None], total, mask=mask)


@jit
def _backward(
    x: tl.tensor,
    number: tl.tensor,
    levels: tl.tensor,
    scales: tl.tensor,
    grad: tl.tensor,
    grad_tables: tl.tensor,
    FEATURES: tl.constexpr,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Add the gradients of a block of features to the table rows they came from."""
    level = tl.program_id(1)
    first = tl.load(levels + level * 4 + 3)
    if first >= 0:
        entries, resolution = tl.load(levels + level * 4 + 1), tl.load(levels + level * 4 + 2)
        scale = tl.load(scales + level)
        points = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
        feature = tl.arange(0, WIDTH)
        live = points < number
        mask = live[:, None] & (feature < FEATURES)[None, :]
        x0, y0, z0, next_y, next_z, wx, wy, wz = _axes(x, points, live, scale, resolution, entries)
        x1, y1, z1, vx, vy, vz = x0 + 1, y0 + next_y, z0 + next_z, 1.0 - wx, 1.0 - wy, 1.0 - wz
        plane = (level * FEATURES + feature).to(tl.int64)
        own = tl.load(grad + plane[None, :] * number + points[:, None], mask=mask, other=0.0)
        for corner in tl.static_range(8):
            dx, dy, dz = corner & 1, corner >> 1 & 1, corner >> 2
            weight = (wx if dx else vx) * (wy if dy else vy) * (wz if dz else vz)
            row = first + _row(x1 if dx else x0, y1 if dy else y0, z1 if dz else z0, resolution, entries)
            place = grad_tables + row[:, None] * FEATURES + feature[None, :]
            tl.atomic_add(place, weight[:, None] * own, mask=mask, sem="relaxed")


@jit
def _backward_positions(
    x: tl.tensor,
    number: tl.tensor,
    count: tl.tensor,
    levels: tl.tensor,
    scales: tl.tensor,
    grad: tl.tensor,
    out: tl.tensor,
    FEATURES: tl.constexpr,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Gradients of the coordinates of a block of points, summed over all levels."""
    points = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    feature = tl.arange(0, WIDTH)
    live = points < number
    mask = live[:, None] & (feature < FEATURES)[None, :]
    gx, gy, gz = tl.zeros([BLOCK], tl.float32), tl.zeros([BLOCK], tl.float32), tl.zeros([BLOCK], tl.float32)
    for level in range(count):
        table, entries, resolution = _level(levels, level)
        scale = tl.load(scales + level)
        x0, y0, z0, next_y, next_z, wx, wy, wz = _axes(x, points, live, scale, resolution, entries)
        x1, y1, z1, vx, vy, vz = x0 + 1, y0 + next_y, z0 + next_z, 1.0 - wx, 1.0 - wy, 1.0 - wz
        plane = (level * FEATURES + feature).to(tl.int64)
        own = tl.load(grad + plane[None, :] * number + points[:, None], mask=mask, other=0.0)
        for corner in tl.static_range(8):
            dx, dy, dz = corner & 1, corner >> 1 & 1, corner >> 2
            ux, uy, uz = wx if dx else vx, wy if dy else vy, wz if dz else vz
            row = _row(x1 if dx else x0, y1 if dy else y0, z1 if dz else z0, resolution, entries)
            value = tl.load(table + row[:, None] * FEATURES + feature[None, :], mask=mask, other=0.0)
            slope = tl.sum(value * own, 1) * scale
            gx += slope * uy * uz * (2 * dx - 1)
            gy += slope * ux * uz * (2 * dy - 1)
            gz += slope * ux * uy * (2 * dz - 1)
    tl.store(out + points * 3, gx, mask=live)
    tl.store(out + points * 3 + 1, gy, mask=live)
    tl.store(out + points * 3 + 2, gz, mask=live)


class _Levels:
    """Geometry of some tables on their device.

    Args:
        tables: L contiguous tensors (T_l, F).
        scales: Lattice spacings of each level.
        resolutions: Lattice points along one axis of each level.
        needed: Which tables want a gradient.
    """

    def __init__(
        self, tables: Sequence[Tensor], scales: Sequence[float], resolutions: Sequence[int], needed: Sequence[bool]
    ) -> None:
        rows = [len(table) for table in tables]
        self.first = [sum(n for n, need in zip(rows[:i], needed) if need) for i in range(len(rows))]
        self.device = tables[0].device
        self.count, self.features = len(tables), tables[0].shape[1]
        self.rows = sum(n for n, need in zip(rows, needed) if need)
        first = tuple(begin if need else -1 for begin, need in zip(self.first, needed))
        numbers = tuple(zip(_addresses(tables), rows, resolutions, first))
        self.numbers, self.scales = _on_device(numbers, tuple(scales), self.device)

    def constants(self, points: int) -> tuple[int, dict[str, int]]:
        """Number of blocks, and what is compiled in."""
        width = power_of_two(self.features)
        block = block_size(points, _BLOCK, width)
        return ceil_div(points, block), {"FEATURES": self.features, "WIDTH": width, "BLOCK": block, "num_warps": 4}


def _addresses(tables: Sequence[Tensor]) -> list[int]:
    """Where the tables lie in the device's memory."""
    return [table.data_ptr() for table in tables]


@lru_cache(maxsize=64)
def _on_device(
    numbers: tuple[tuple[int, int, int, int], ...], scales: tuple[float, ...], device: torch.device
) -> tuple[Tensor, Tensor]:
    """Copies of a geometry on a device, kept because a copy makes the host wait."""
    return torch.tensor(numbers, dtype=torch.int64).to(device), torch.tensor(scales).to(device)


class _HashEncode(torch.autograd.Function):
    """Autograd around the kernels."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, scales: tuple[float, ...], resolutions: tuple[int, ...], *tables: Tensor
    ) -> Tensor:
        x, tables = x.contiguous(), tuple(table.contiguous() for table in tables)
        levels = _Levels(tables, scales, resolutions, ctx.needs_input_grad[3:])
        planes = x.new_empty(levels.count * levels.features, len(x))
        blocks, constants = levels.constants(len(x))
        launch(
            _forward,
            (blocks, levels.count),
            x.device,
            x,
            len(x),
            levels.numbers,
            levels.scales,
            planes,
            **constants,
        )
        ctx.geometry, ctx.levels = (scales, resolutions), levels
        ctx.save_for_backward(x, *tables)  # tables are kept for their addresses, too
        return planes.t()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, *tables = ctx.saved_tensors
        needed: Sequence[bool] = ctx.needs_input_grad[3:]
        if torch.is_grad_enabled() and ctx.needs_input_grad[0]:  # they will be differentiated again, as normals are
            scales, resolutions = ctx.geometry
            grad_x, *grads = reference_gradients(x, tables, scales, resolutions, grad, (True, *needed))
            return grad_x, None, None, *grads
        levels, planes = ctx.levels, grad.t().contiguous()
        blocks, constants = levels.constants(len(x))
        places = (x, len(x), levels.numbers, levels.scales, planes)
        summed = x.new_zeros(levels.rows, levels.features)
        if any(needed):
            launch(_backward, (blocks, levels.count), x.device, *places, summed, **constants)
        rows = [summed[begin : begin + len(table)] for begin, table in zip(levels.first, tables)]
        grads = [own if need else None for own, need in zip(rows, needed)]
        if not ctx.needs_input_grad[0]:
            return None, None, None, *grads
        grad_x = torch.zeros_like(x)
        rest = (x, len(x), levels.count, *places[2:], grad_x)
        launch(_backward_positions, (blocks,), x.device, *rest, **constants)
        return grad_x * ((x >= 0) & (x <= 1)), None, None, *grads


def hash_encode_triton(
    x: Tensor, tables: list[Tensor], scales: tuple[float, ...], resolutions: tuple[int, ...]
) -> Tensor:
    """Do what `hash_encode_torch` does, for float32 tensors on a GPU.

    Args:
        x: (M, 3); coordinates outside [0, 1] are clamped to it. Differentiable; twice by way of the reference.
        tables: L tensors (T_l, F), all of the same F. Differentiable.
        scales: Lattice spacings of each level.
        resolutions: Lattice points along one axis of each level.

    Returns:
        (M, L * F), stored plane by plane: the transpose is contiguous.
    """
    apply: Any = _HashEncode.apply
    out: Tensor = apply(x, tuple(scales), tuple(resolutions), *tables)
    return out
