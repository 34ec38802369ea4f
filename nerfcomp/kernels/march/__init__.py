"""Marching rays through an occupancy grid: where a field has to be evaluated at all.

Notation of this file:

- ``N`` rays, ``M`` samples of all rays packed one ray after the other, ``C`` cascades of ``R^3`` cells.
- Cascade ``c`` covers the cube ``aabb`` shrunk about its centre by ``2^(C - 1 - c)``; a position is looked up in the
  finest cascade that contains it. Cells are indexed ``[c, x, y, z]``.
- All rays share one lattice of distances: step ``k`` covers ``[e_k, e_{k+1}]`` with ``e_0 = 0`` and
  ``e_{k+1} - e_k = clamp(e_k * cone_angle, dt_min, dt_max)``. A ray's jitter ``u`` in [0, 1) moves all of its edges
  from ``e_k`` to ``e_k + u * (e_{k+1} - e_k)``. A sample is the midpoint ``t`` of a step, of length ``dt``, that lies
  inside the box, between near and far, and in an occupied cell.

Source: Müller et al., "Instant Neural Graphics Primitives with a Multiresolution Hash Encoding" (2022), appendix E.1.
"""

from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from nerfcomp.kernels.march.numba_kernel import march_numba
from nerfcomp.kernels.march.torch_kernel import march_torch

Backend = Literal["auto", "numba", "torch"]
_MAX_STEPS = 2**21
_PARALLEL = 1e-12
_FOUR_BYTES_TO_BITS = 0x01020408  # this product gathers the lowest bits of four bytes in bits 24 to 27


class Samples(NamedTuple):
    """Samples of N rays, packed ray after ray, near to far within a ray.

    Attributes:
        x: (M, 3) positions.
        t: (M,) distance of the interval's midpoint along the ray.
        dt: (M,) length of the interval.
        ray_indices: (M,) int64, the ray of each sample, ascending.
        offsets: (N + 1,) int64; the samples of ray r are ``offsets[r]:offsets[r + 1]``.
    """

    x: Tensor
    t: Tensor
    dt: Tensor
    ray_indices: Tensor
    offsets: Tensor


def intersect_box(
    origins: Tensor, directions: Tensor, near: Tensor, far: Tensor, aabb: Tensor
) -> tuple[Tensor, Tensor]:
    """Clip rays to a box (slab method).

    Args:
        origins: (N, 3).
        directions: (N, 3).
        near: (N,) or (N, 1) distance where a ray begins; below 0 counts as 0.
        far: (N,) or (N, 1) distance where it ends.
        aabb: (2, 3) minimum and maximum corner.

    Returns:
        Distances (N,) at which each ray enters and leaves; both 0 for rays that miss.

    >>> enter, leave = intersect_box(torch.tensor([[-3.0, 0.0, 0.0]]), torch.tensor([[1.0, 0.0, 0.0]]),
    ...                              torch.tensor([0.0]), torch.tensor([9.0]), torch.tensor([[-1.0] * 3, [1.0] * 3]))
    >>> enter.item(), leave.item()
    (2.0, 4.0)
    """
    safe = torch.where(directions.abs() < _PARALLEL, torch.full_like(directions, _PARALLEL), directions)
    lower, upper = (aabb[0] - origins) / safe, (aabb[1] - origins) / safe
    enter = torch.maximum(torch.minimum(lower, upper).amax(-1), near.reshape(-1)).clamp(min=0.0)
    leave = torch.minimum(torch.maximum(lower, upper).amin(-1), far.reshape(-1))
    hit = enter < leave
    return torch.where(hit, enter, 0.0), torch.where(hit, leave, 0.0)


@lru_cache(maxsize=16)
def step_lattice(dt_min: float, dt_max: float, cone_angle: float, reach: float) -> tuple[Tensor, Tensor]:
    """Tabulate the midpoints and lengths of the steps from 0 to beyond ``reach``.

    Args:
        dt_min: Smallest step, above 0.
        dt_max: Largest step, at least ``dt_min``.
        cone_angle: Growth of a step per unit of distance, at least 0.
        reach: Distance to cover.

    Returns:
        Midpoints (K,) and lengths (K,), float32 on the CPU.

    Raises:
        ValueError: Steps that are not positive and ordered, or more than two million of them.

    >>> midpoints, widths = step_lattice(0.5, 1.0, 0.5, 1.0)
    >>> midpoints.tolist(), widths.tolist()
    ([0.25, 0.75, 1.25, 1.875, 2.75, 3.75], [0.5, 0.5, 0.5, 0.75, 1.0, 1.0])
    """
    if not (0.0 < dt_min <= dt_max and cone_angle >= 0.0 and reach / dt_min < np.inf):
        raise ValueError(f"Need 0 < dt_min <= dt_max and cone_angle >= 0, found {dt_min}, {dt_max} and {cone_angle}.")
    edges = _uniform_edges(dt_min, reach) if cone_angle == 0.0 else _growing_edges(dt_min, dt_max, cone_angle, reach)
    midpoints, widths = torch.from_numpy((edges[1:] + edges[:-1]) / 2).float(), torch.from_numpy(np.diff(edges)).float()
    return midpoints, torch.full_like(widths, dt_min) if cone_angle == 0.0 else widths


def _uniform_edges(dt_min: float, reach: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Edges of equal steps, three more than needed to reach."""
    _check_number(reach / dt_min, dt_min, reach)
    return np.arange(int(reach / dt_min) + 4, dtype=np.float64) * dt_min


def _growing_edges(
    dt_min: float, dt_max: float, cone_angle: float, reach: float
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Edges of growing steps, three more than needed to reach."""
    _check_number(reach / dt_max, dt_min, reach)
    edges, extra = [0.0], 0
    while extra < 3:
        extra += edges[-1] > reach
        edges.append(edges[-1] + min(max(edges[-1] * cone_angle, dt_min), dt_max))
        _check_number(len(edges), dt_min, reach)
    return np.array(edges)


def _check_number(steps: float, dt_min: float, reach: float) -> None:
    """Refuse lattices that would fill the memory."""
    if steps > _MAX_STEPS:
        raise ValueError(
            f"Steps of {dt_min:g} up to a distance of {reach:g} are more than {_MAX_STEPS}. "
            "Move the cameras closer to the scene box, or use larger steps."
        )


class Bricks(NamedTuple):
    """An occupancy packed for the CPU march: bricks of 4^3 cells, B = R / 4 along an axis.

    Attributes:
        words: (C, B, B, B) int64; bit ``16 x + 4 y + z`` is the occupancy of cell (x, y, z) of the brick.
        levels: (C, B, B, B) uint8; 0 for a brick with an occupied cell, else 1 + log2 of the edge, in bricks, of the
            largest aligned empty block around it.
    """

    words: Tensor
    levels: Tensor


def pack_bricks(occupied: Tensor) -> Bricks:
    """Pack an occupancy for the march.

    Args:
        occupied: (C, R, R, R) bool, R divisible by 4. Where a finer cascade covers a cell, the finer one decides.

    Returns:
        The bricks, on the CPU.

    >>> occupied = torch.zeros(1, 16, 16, 16, dtype=torch.bool)
    >>> occupied[0, 0, 0, 2] = True
    >>> words, levels = pack_bricks(occupied)
    >>> words[0, 0, 0, 0].item(), levels[0, :, 0, 0].tolist()
    (4, [0, 1, 2, 2])
    """
    cells = fill_inner(occupied.cpu()).contiguous().numpy().view(np.uint32)
    edge = cells.shape[1] // 4
    rows = (cells * np.uint32(_FOUR_BYTES_TO_BITS) >> np.uint32(24)).astype(np.uint64) & np.uint64(15)
    rows = rows.reshape(-1, edge, 4, edge, 4, edge)
    shifts = np.arange(0, 64, 4, dtype=np.uint64).reshape(4, 1, 4, 1)
    words = torch.from_numpy(np.bitwise_or.reduce(rows << shifts, axis=(2, 4)).view(np.int64))
    return Bricks(words, torch.stack([_empty_levels(cube == 0) for cube in words]))


def fill_inner(occupied: Tensor) -> Tensor:
    """Copy each cascade, pooled, into the inner half of the next coarser one, which no march ever looks up there.

    Args:
        occupied: (C, R, R, R) bool; R divisible by 4 when C > 1.

    Returns:
        (C, R, R, R) bool in which every cascade tells the truth about its whole cube.
    """
    filled = [occupied[0]]
    quarter = occupied.shape[1] // 4
    for coarser in occupied[1:]:
        inner = slice(quarter, 3 * quarter)
        cells = coarser.clone()
        cells[inner, inner, inner] = _pool(filled[-1])
        filled.append(cells)
    return torch.stack(filled)


def _pool(cells: Tensor) -> Tensor:
    """Halve the resolution of (R, R, R) bools; a block is set when any of its eight cells is."""
    half = len(cells) // 2
    return cells.reshape(half, 2, half, 2, half, 2).any(5).any(3).any(1)


def _empty_levels(empty: Tensor) -> Tensor:
    """Levels of one cascade from its empty bricks (B, B, B)."""
    levels, edge = empty.to(torch.uint8), 1
    occupied = ~empty
    while len(occupied) % 2 == 0:
        occupied, edge = _pool(occupied), 2 * edge
        block = (~occupied).to(torch.uint8)
        for axis in range(3):
            block = block.repeat_interleave(edge, axis)
        levels += block
    return levels


def march(
    origins: Tensor,
    directions: Tensor,
    near: Tensor,
    far: Tensor,
    jitter: Tensor | None,
    occupied: Tensor,
    aabb: Tensor,
    dt_min: float,
    dt_max: float,
    cone_angle: float = 0.0,
    max_samples: int = 1024,
    bricks: Bricks | None = None,
    backend: Backend = "auto",
) -> Samples:
    """Place samples in the occupied cells along rays. Not differentiable.

    Args:
        origins: (N, 3) float32.
        directions: (N, 3) float32, unit length.
        near: (N, 1) or (N,) distance where the march begins.
        far: (N, 1) or (N,) distance where it ends.
        jitter: (N,) in [0, 1): shift of a ray's samples, in steps; none is 0.
        occupied: (C, R, R, R) bool.
        aabb: (2, 3) box of the coarsest cascade.
        dt_min: Smallest step.
        dt_max: Largest step.
        cone_angle: Growth of a step per unit of distance; 0 for objects seen from about the same distance.
        max_samples: Most samples per ray; the farther ones are dropped.
        bricks: `pack_bricks` of ``occupied``, when the caller keeps them; only "numba" needs them.
        backend: "torch", "numba" (CPU only), or "auto": numba on the CPU, torch elsewhere. All find the same samples.

    Returns:
        The samples.

    Raises:
        ValueError: Steps that are not allowed, or cascades whose cells do not nest.

    >>> samples = march(torch.tensor([[-3.0, 0.1, 0.1]]), torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[0.0]]),
    ...                 torch.tensor([[9.0]]), None, torch.ones(1, 4, 4, 4, dtype=torch.bool),
    ...                 torch.tensor([[-1.0] * 3, [1.0] * 3]), dt_min=1.0, dt_max=1.0)
    >>> samples.t.tolist(), samples.dt.tolist(), samples.offsets.tolist()
    ([2.5, 3.5], [1.0, 1.0], [0, 2])
    """
    if occupied.shape[1] % 4:
        raise ValueError(f"The resolution of an occupancy must be divisible by 4, found {occupied.shape[1]}.")
    enter, leave = intersect_box(origins, directions, near, far, aabb)
    reach = 2.0 ** np.ceil(np.log2(max(float(leave.max()) if len(leave) else 0.0, dt_min)))
    midpoints, widths = (table.to(origins.device) for table in step_lattice(dt_min, dt_max, cone_angle, reach))
    offset = jitter.reshape(-1) if jitter is not None else torch.zeros_like(enter)
    frame = torch.stack([(aabb[0] + aabb[1]) / 2, occupied.shape[1] / (aabb[1] - aabb[0])])
    first = (torch.searchsorted(midpoints, enter) - 2).clamp(min=0)
    rays = (origins, directions, enter, leave, first, offset, midpoints, widths)
    if backend == "torch" or (backend == "auto" and origins.device.type != "cpu"):
        return Samples(*march_torch(*rays, occupied, frame, max_samples))
    bricks = pack_bricks(occupied) if bricks is None else bricks
    longest = int((leave - enter).max() / dt_min) + 2 if len(enter) else 1
    max_samples = min(max_samples, longest)
    return Samples(*march_numba(*rays, bricks, frame, (dt_min, dt_max, cone_angle), max_samples))
