"""Occupancy march on GPUs, in two passes: rays count their samples, then walk again and write them where they belong.

A lane takes one ray and jumps from empty block to empty block; all geometry is float32 and in the same order of
operations as the torch reference. The occupancy is read as bricks of 4^3 cells, a bit per cell: 256 KiB for 128^3
cells, which the cache holds. Notation as in `nerfcomp.kernels.march`.
"""

import torch
from torch import Tensor

from nerfcomp.kernels.triton_setup import block_size, ceil_div, jit, launch, tl

_RAYS = 32  # one warp: its lanes wait for each other only


@jit
def _inverse(slope: tl.tensor) -> tl.tensor:
    """Distance per cell along one axis, finite."""
    return 1.0 / tl.where(tl.abs(slope) > 1e-12, slope, 1e-12)


@jit
def _cell(position: tl.tensor, scale: tl.tensor, half: tl.tensor, top: tl.tensor) -> tl.tensor:
    """Index of the cell along one axis; ``position`` in cells of the coarsest cascade from the centre."""
    return tl.minimum(tl.maximum(position * scale + half, 0.0), top).to(tl.int32)


@jit
def _exit(
    position: tl.tensor, inverse: tl.tensor, cell: tl.tensor, shift: tl.tensor, half: tl.tensor, scale: tl.tensor
) -> tl.tensor:
    """Distance, along one axis, to where a ray leaves the aligned block of ``2^shift`` cells around ``cell``."""
    face = ((cell >> shift) + (inverse > 0.0).to(tl.int32)) << shift
    return ((face.to(tl.float32) - half) / scale - position) * inverse


@jit
def _empty_shift(
    words: tl.tensor,
    levels: tl.tensor,
    cascade: tl.tensor,
    i: tl.tensor,
    j: tl.tensor,
    k: tl.tensor,
    edge: tl.tensor,
    active: tl.tensor,
) -> tl.tensor:
    """Log2 of the edge of the empty block around a cell; -1 for an occupied cell."""
    brick = ((cascade * edge + (i >> 2)) * edge + (j >> 2)) * edge + (k >> 2)
    word = tl.load(words + brick, mask=active, other=0)
    level = tl.load(levels + brick, mask=active & (word == 0), other=0).to(tl.int32) + 1
    cell = (word >> ((i & 3) << 4 | (j & 3) << 2 | (k & 3)).to(tl.int64)) & 1
    eighth = (word >> ((i & 2) << 4 | (j & 2) << 2 | (k & 2)).to(tl.int64)) & 0x00330033
    inside = tl.where(cell != 0, -1, tl.where(eighth != 0, 0, 1))
    return tl.where(word == 0, level, inside)


@jit
def _vector(vectors: tl.tensor, rays: tl.tensor, live: tl.tensor) -> tl.tensor:
    """Components of a vector per ray."""
    x = tl.load(vectors + rays * 3, mask=live, other=1.0)
    return (
        x,
        tl.load(vectors + rays * 3 + 1, mask=live, other=1.0),
        tl.load(vectors + rays * 3 + 2, mask=live, other=1.0),
    )


@jit
def _at(table: tl.tensor, step: tl.tensor, jitter: tl.tensor, mask: tl.tensor) -> tl.tensor:
    """Interpolate a table of the lattice."""
    low = tl.load(table + step, mask=mask, other=0.0)
    return low + jitter * (tl.load(table + step + 1, mask=mask, other=0.0) - low)


@jit
def _finest(radius: tl.tensor, half: tl.tensor, CASCADES: tl.constexpr, RAYS: tl.constexpr) -> tl.tensor:
    """Finest cascade that contains a position, and its cells per cell of the coarsest one."""
    scale, cascade = tl.full([RAYS], 1.0, tl.float32), tl.full([RAYS], CASCADES - 1, tl.int32)
    for finer in tl.static_range(1, CASCADES):
        deeper = radius * (1 << finer) <= half
        scale = tl.where(deeper, 1.0 * (1 << finer), scale)
        cascade = tl.where(deeper, CASCADES - 1 - finer, cascade)
    return cascade, scale


@jit
def _store(
    out: tl.tensor, place: tl.tensor, t: tl.tensor, width: tl.tensor, world: tl.tensor, rays: tl.tensor, mask: tl.tensor
) -> None:
    """Write samples; ``world`` are origins and directions of the rays."""
    out_x, out_t, out_dt, out_rays = out
    tl.store(out_t + place, t, mask=mask)
    tl.store(out_dt + place, width, mask=mask)
    tl.store(out_rays + place, rays.to(tl.int64), mask=mask)
    for axis in tl.static_range(3):
        origin = tl.load(world[0] + rays * 3 + axis, mask=mask, other=0.0)
        slope = tl.load(world[1] + rays * 3 + axis, mask=mask, other=0.0)
        tl.store(out_x + place * 3 + axis, origin + t * slope, mask=mask)


@jit
def _march(
    cells: tl.tensor,
    spans: tl.tensor,
    table: tl.tensor,
    bricks: tl.tensor,
    limits: tl.tensor,
    max_samples: tl.tensor,
    number: tl.tensor,
    counts: tl.tensor,
    offsets: tl.tensor,
    world: tl.tensor,
    out: tl.tensor,
    CASCADES: tl.constexpr,
    WRITE: tl.constexpr,
    RAYS: tl.constexpr,
) -> None:
    """Walk some rays through the bricks: count their samples, or write as many as ``counts`` says from ``offsets`` on.

    ``cells`` are origins and directions in cells, ``spans`` where rays enter and leave, their first steps and jitters.
    """
    midpoints, widths, steps = table
    words, levels, edge = bricks
    dt_min, dt_max, growth = limits
    rays = tl.program_id(0) * RAYS + tl.arange(0, RAYS)
    live = rays < number
    ox, oy, oz = _vector(cells[0], rays, live)
    dx, dy, dz = _vector(cells[1], rays, live)
    ix, iy, iz = _inverse(dx), _inverse(dy), _inverse(dz)
    t_in, t_out = tl.load(spans[0] + rays, mask=live, other=0.0), tl.load(spans[1] + rays, mask=live, other=0.0)
    step, u = tl.load(spans[2] + rays, mask=live, other=0).to(tl.int32), tl.load(spans[3] + rays, mask=live, other=0.0)
    half, top = 2.0 * edge, 4.0 * edge - 1.0
    count, most = tl.zeros([RAYS], tl.int64), tl.zeros([RAYS], tl.int64) + max_samples
    begin = tl.zeros([RAYS], tl.int64)
    if WRITE:
        most = tl.load(counts + rays, mask=live, other=0)
        begin = tl.load(offsets + rays, mask=live, other=0)
    active = live & (step < steps - 1) & (count < most)
    while tl.max(active.to(tl.int32), 0) > 0:
        t = _at(midpoints, step, u, active)
        active = active & (t < t_out)
        x, y, z = ox + t * dx, oy + t * dy, oz + t * dz
        cascade, scale = _finest(tl.maximum(tl.maximum(tl.abs(x), tl.abs(y)), tl.abs(z)), half, CASCADES, RAYS)
        i, j, k = _cell(x, scale, half, top), _cell(y, scale, half, top), _cell(z, scale, half, top)
        shift = _empty_shift(words, levels, cascade, i, j, k, edge, active)
        counted = active & (shift < 0) & (t >= t_in)
        if WRITE:
            _store(out, begin + count, t, _at(widths, step, u, counted), world, rays, counted)
        count += counted.to(tl.int64)
        block = tl.maximum(shift, 0)
        ahead = tl.minimum(_exit(x, ix, i, block, half, scale), _exit(y, iy, j, block, half, scale))
        ahead = tl.minimum(ahead, _exit(z, iz, k, block, half, scale))
        length = tl.minimum(tl.maximum((t + ahead) * growth, dt_min), dt_max)
        jump = tl.where(active & (shift >= 0) & (ahead > length), ahead / length - 0.05, 0.0)
        step += 1 + tl.minimum(jump, 1e9).to(tl.int32)
        active = active & ((shift < 0) | (t + ahead < t_out + dt_max)) & (step < steps - 1) & (count < most)
    if not WRITE:
        tl.store(counts + rays, count, mask=live)


def march_triton(
    origins: Tensor,
    directions: Tensor,
    enter: Tensor,
    leave: Tensor,
    first: Tensor,
    jitter: Tensor,
    midpoints: Tensor,
    widths: Tensor,
    bricks: tuple[Tensor, Tensor],
    frame: Tensor,
    limits: tuple[float, float, float],
    max_samples: int,
    capacity: int | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Run both passes; arguments and results as in `nerfcomp.kernels.march.torch_kernel.march_torch`.

    Args:
        origins: As there, like all that is not named here.
        directions: As there.
        enter: As there.
        leave: As there.
        first: As there.
        jitter: As there.
        midpoints: As there.
        widths: As there.
        bricks: Words and levels of `nerfcomp.kernels.march.Bricks`, on the GPU.
        frame: As there.
        limits: Smallest and largest step, and growth of a step per unit of distance.
        max_samples: As there.
        capacity: Samples to make room for, so that the host need not wait for their number; see `fitting`.

    Returns:
        As there.
    """
    rays, device = len(origins), origins.device
    world = (origins.contiguous(), directions.contiguous())
    cells = (((origins - frame[0]) * frame[1]).contiguous(), (directions * frame[1]).contiguous())
    spans = tuple(part.contiguous() for part in (enter, leave, first, jitter))
    table, grid = (midpoints, widths, len(midpoints)), (*bricks, bricks[0].shape[1])
    growth = limits[2] * (1 + 2 * limits[2])  # also bounds the step after the exit
    arguments = (cells, spans, table, grid, (limits[0], limits[1], growth), max_samples, rays)
    counts = torch.zeros(rays, dtype=torch.int64, device=device)
    offsets = torch.zeros(rays + 1, dtype=torch.int64, device=device)
    block = block_size(rays, _RAYS)
    constants = {"CASCADES": len(bricks[0]), "RAYS": block, "num_warps": 1}
    programs = (ceil_div(rays, block),)
    nothing = (world[0], enter, enter, counts)
    launch(_march, programs, device, *arguments, counts, offsets, world, nothing, WRITE=False, **constants)
    torch.cumsum(counts, 0, out=offsets[1:])
    total = int(offsets[-1]) if capacity is None else capacity
    if capacity is not None:
        counts *= offsets[1:] <= capacity
    x, t, dt = origins.new_zeros(total, 3), origins.new_zeros(total), origins.new_zeros(total)
    ray_indices = torch.zeros(total, dtype=torch.int64, device=device)
    out = (x, t, dt, ray_indices)
    launch(_march, programs, device, *arguments, counts, offsets, world, out, WRITE=True, **constants)
    return x, t, dt, ray_indices, offsets
