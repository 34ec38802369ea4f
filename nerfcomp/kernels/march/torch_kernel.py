"""Occupancy march in plain torch, on any device: every step of every ray is looked up.

Notation as in `nerfcomp.kernels.march`.
"""

import torch
from torch import Tensor

_ELEMENTS = 2**22  # rays x steps handled at once, bounds the memory


def _at(table: Tensor, step: Tensor, jitter: Tensor) -> Tensor:
    """Interpolate a table of the lattice: (B, K) steps, (B, 1) jitter."""
    value = table[step]
    return value + jitter * (table[step + 1] - value)


def cell_occupied(position: Tensor, occupied: Tensor) -> Tensor:
    """Look up the finest cascade that contains each position.

    Args:
        position: (..., 3) in cells of the coarsest cascade from the centre; outside the box the nearest cell counts.
        occupied: (C, R, R, R) bool.

    Returns:
        (...) bool.
    """
    cascades, resolution = occupied.shape[:2]
    half = resolution / 2
    position = position.nan_to_num()
    radius = position.abs().amax(-1)
    scale = torch.ones_like(radius)
    for finer in range(1, cascades):
        scale = torch.where(radius * 2.0**finer <= half, 2.0**finer, scale)
    cascade = cascades - 1 - scale.log2().long()
    cell = (position * scale.unsqueeze(-1) + half).clamp(0, resolution - 1).long()
    return occupied[cascade, cell[..., 0], cell[..., 1], cell[..., 2]]


def march_torch(
    origins: Tensor,
    directions: Tensor,
    enter: Tensor,
    leave: Tensor,
    first: Tensor,
    jitter: Tensor,
    midpoints: Tensor,
    widths: Tensor,
    occupied: Tensor,
    frame: Tensor,
    max_samples: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Find the samples of all rays.

    Args:
        origins: (N, 3).
        directions: (N, 3) unit length.
        enter: (N,) distance at which a ray enters the box, not below 0.
        leave: (N,) distance at which it leaves; not above ``enter`` for rays that miss.
        first: (N,) int64 step that is not behind the first sample.
        jitter: (N,) in [0, 1).
        midpoints: (K,) lattice of distances, increasing.
        widths: (K,) length of each step.
        occupied: (C, R, R, R) bool.
        frame: (2, 3) centre of the box and the number of coarsest cells per unit of length.
        max_samples: Samples kept per ray, the nearest ones.

    Returns:
        x (M, 3), t (M,), dt (M,), ray_indices (M,), offsets (N + 1,).
    """
    longest = int((torch.searchsorted(midpoints, leave) - first).max()) + 1 if len(enter) else 1
    cell_origins, cell_directions = (origins - frame[0]) * frame[1], directions * frame[1]
    parts = []
    for begin in range(0, max(len(enter), 1), max(1, _ELEMENTS // longest)):
        rows = slice(begin, begin + max(1, _ELEMENTS // longest))
        step = first[rows, None] + torch.arange(longest, device=enter.device)
        inside = step < len(midpoints) - 1
        step = step.clamp(max=len(midpoints) - 2)
        t = _at(midpoints, step, jitter[rows, None])
        inside &= (t >= enter[rows, None]) & (t < leave[rows, None])
        position = cell_origins[rows, None] + t.unsqueeze(-1) * cell_directions[rows, None]
        inside &= cell_occupied(position, occupied)
        inside &= inside.cumsum(1) <= max_samples
        ray, column = inside.nonzero(as_tuple=True)
        parts.append((t[ray, column], _at(widths, step[ray, column], jitter[rows][ray]), ray + begin))
    t, dt, ray_indices = (torch.cat(column) for column in zip(*parts))
    x = origins[ray_indices] + t.unsqueeze(-1) * directions[ray_indices]
    counts = torch.bincount(ray_indices, minlength=len(enter))
    return x, t, dt, ray_indices, torch.cat([counts.new_zeros(1), counts.cumsum(0)])
