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
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nerfcomp.kernels.backends import Backend, choose_backend
from nerfcomp.kernels.march.bricks import Bricks, pack_bricks
from nerfcomp.kernels.march.numba_kernel import march_numba
from nerfcomp.kernels.march.torch_kernel import march_torch

_MAX_STEPS = 2**21
_PARALLEL = 1e-12


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
    reach: float | None = None,
    capacity: int | None = None,
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
        bricks: `pack_bricks` of ``occupied``, when the caller keeps them; "torch" does not need them.
        backend: "torch", "numba" (on the CPU), "triton" (on a GPU) or "auto"; all find the same samples.
        reach: A distance behind which no ray leaves the box; none looks for it.
        capacity: Number of samples of the result, see `fitting`. With it and ``reach``, "triton" never waits.

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
    limits = (dt_min, dt_max, cone_angle)
    rays = _spans(origins, directions, near, far, jitter, aabb, limits, reach)
    frame = _frame(aabb, occupied.shape[1])
    chosen = choose_backend("march", backend, (origins, directions, *rays[2:4], rays[5]))
    if chosen == "torch":
        return fitting(Samples(*march_torch(*rays, occupied, frame, max_samples)), capacity)
    bricks = pack_bricks(occupied) if bricks is None else bricks
    if chosen == "numba":
        return fitting(Samples(*march_numba(*rays, bricks, frame, limits, max_samples)), capacity)
    from nerfcomp.kernels.march.triton_kernel import march_triton

    return Samples(*march_triton(*rays, bricks, frame, limits, max_samples, capacity))


def _frame(aabb: Tensor, resolution: int) -> Tensor:
    """Centre of the box and the number of coarsest cells per unit of length, (2, 3)."""
    if resolution % 4:
        raise ValueError(f"The resolution of an occupancy must be divisible by 4, found {resolution}.")
    return torch.stack([(aabb[0] + aabb[1]) / 2, resolution / (aabb[1] - aabb[0])])


def _spans(
    origins: Tensor,
    directions: Tensor,
    near: Tensor,
    far: Tensor,
    jitter: Tensor | None,
    aabb: Tensor,
    limits: tuple[float, float, float],
    reach: float | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Leading arguments of `march_torch`: rays, where they begin on the lattice, and the lattice."""
    enter, leave = intersect_box(origins, directions, near, far, aabb)
    reach = float(leave.max()) if reach is None and len(leave) else reach or 0.0
    power = 2.0 ** np.ceil(np.log2(max(reach, limits[0])))
    midpoints, widths = lattice_on(*limits, power, origins.device)
    first = (torch.searchsorted(midpoints, enter) - 2).clamp(min=0)
    jitter = torch.zeros_like(enter) if jitter is None else jitter.reshape(-1)
    return origins, directions, enter, leave, first, jitter, midpoints, widths


@lru_cache(maxsize=16)
def lattice_on(
    dt_min: float, dt_max: float, cone_angle: float, reach: float, device: torch.device
) -> tuple[Tensor, Tensor]:
    """`step_lattice` on a device."""
    midpoints, widths = step_lattice(dt_min, dt_max, cone_angle, reach)
    return midpoints.to(device), widths.to(device)


def fitting(samples: Samples, capacity: int | None) -> Samples:
    """Samples of the leading rays that fit, filled up to a fixed number by zeros.

    Args:
        samples: M samples of N rays.
        capacity: Number of samples of the result; none leaves them as they are.

    Returns:
        ``capacity`` samples, and the offsets as they are: rays whose samples end behind the capacity have none here.

    >>> ones, ray = torch.ones(3), torch.tensor([0, 1, 1])
    >>> three = Samples(torch.ones(3, 3), ones, ones, ray, torch.tensor([0, 1, 3]))
    >>> two = fitting(three, 2)
    >>> two.t.tolist(), two.offsets.tolist()
    ([1.0, 0.0], [0, 1, 3])
    """
    if capacity is None:
        return samples
    total = int(samples.offsets[samples.offsets <= capacity][-1])
    x, t, dt, ray_indices = (part.new_zeros(capacity, *part.shape[1:]) for part in samples[:4])
    for filled, part in zip((x, t, dt, ray_indices), samples[:4]):
        filled[:total] = part[:total]
    return Samples(x, t, dt, ray_indices, samples.offsets)
