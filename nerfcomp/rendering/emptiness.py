"""Where trained networks are empty, found by evaluating them, and looked up for single points.

Notation of this file: ``C`` cascades of ``R^3`` cells, indexed ``[c, x, y, z]``; cascade ``c`` covers the box ``aabb``
shrunk about its centre by ``2^(C - 1 - c)``. A point is looked up in the finest cascade that contains it.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import max_pool3d

from nerfcomp.rendering.occupancy import OccupancyGrid, OpacityFunction

_CHUNK = 2**16  # points evaluated at once
_BLOCK_PLACES = ((0.25, 0.25, 0.25), (0.75, 0.75, 0.75))  # of a body-centred lattice
_CELL_PLACES = ((0.25, 0.25, 0.25), (0.75, 0.75, 0.25), (0.75, 0.25, 0.75), (0.25, 0.75, 0.75))  # of a tetrahedron


def cell_numbers(x: Tensor, cascades: int, resolution: int, aabb: Tensor) -> Tensor:
    """Number the cell of each point in the order of the grid; -1 outside the box.

    Args:
        x: (M, 3) points.
        cascades: C.
        resolution: R.
        aabb: (2, 3) box of the coarsest cascade.

    Returns:
        (M,) int64 in [-1, C * R^3).

    >>> box = torch.tensor([[-1.0] * 3, [1.0] * 3])
    >>> cell_numbers(torch.tensor([[0.9, -0.9, -0.9], [0.1, 0.1, 0.1], [2.0, 0.0, 0.0]]), 2, 4, box).tolist()
    [112, 42, -1]
    """
    unit = (x - aabb.mean(0)) / ((aabb[1] - aabb[0]) / 2)
    reach = unit.abs().amax(1)
    halvings = torch.log2(1 / reach.clamp(min=1e-6)).floor().clamp(0, cascades - 1)
    scale = torch.exp2(halvings).unsqueeze(1)
    cell = ((unit * scale + 1) * (resolution / 2)).long().clamp(0, resolution - 1)
    flat = (cascades - 1 - halvings).long()
    for axis in range(3):
        flat = flat * resolution + cell[:, axis]
    return torch.where(reach <= 1, flat, -1)


def occupied_at(x: Tensor, occupied: Tensor, aabb: Tensor, outside: bool) -> Tensor:
    """Look points up.

    Args:
        x: (M, 3).
        occupied: (C, R, R, R) bool.
        aabb: (2, 3) box of the coarsest cascade.
        outside: What to say of points outside the box.

    Returns:
        (M,) bool.

    >>> occupied = torch.zeros(1, 4, 4, 4, dtype=torch.bool)
    >>> occupied[0, 3, 0, 0] = True
    >>> box = torch.tensor([[-1.0] * 3, [1.0] * 3])
    >>> occupied_at(torch.tensor([[0.9, -0.9, -0.9], [0.1, 0.1, 0.1], [2.0, 0.0, 0.0]]), occupied, box, True).tolist()
    [True, False, True]
    """
    numbers = cell_numbers(x, occupied.shape[0], occupied.shape[1], aabb)
    return torch.where(numbers < 0, outside, occupied.reshape(-1)[numbers])


def dilated(cells: Tensor) -> Tensor:
    """Set the 26 neighbours of (C, R, R, R) set cells, too.

    >>> cells = torch.zeros(1, 4, 4, 4, dtype=torch.bool)
    >>> cells[0, 0, 0, 0] = True
    >>> int(dilated(cells).sum())
    8
    """
    return max_pool3d(cells.float().unsqueeze(1), 3, stride=1, padding=1).squeeze(1) > 0


@torch.no_grad()
def find_occupied(grid: OccupancyGrid, opacities: Sequence[OpacityFunction]) -> list[Tensor]:
    """Evaluate networks everywhere. A cell is empty where one has no opacity at all, neither in the cell nor beside it.

    Blocks of eight cells are evaluated first, at a body-centred lattice; then the cells in and around the blocks where
    any network has something, at four places each.

    Args:
        grid: Says where its cells are; its occupancy does not matter.
        opacities: Opacities (K,) of intervals of length (K,) about points (K, 3), exactly 0 where there is nothing; of
            networks of the same scene.

    Returns:
        (C, R, R, R) bool for each.
    """
    edge, device = grid.resolution, grid.aabb.device
    shape = (grid.cascades, edge // 2, edge // 2, edge // 2)
    blocks = torch.arange(grid.cascades * (edge // 2) ** 3, device=device)
    coarse = [_evaluate(grid, opacity_fn, blocks, _BLOCK_PLACES, edge // 2) for opacity_fn in opacities]
    near = dilated(torch.stack(coarse).any(0).view(shape))
    for axis in (1, 2, 3):
        near = near.repeat_interleave(2, axis)
    cells = near.flatten().nonzero().squeeze(1)
    found = torch.zeros(len(opacities), grid.occupied.numel(), dtype=torch.bool, device=device)
    for row, opacity_fn in zip(found, opacities):
        row[cells] = _evaluate(grid, opacity_fn, cells, _CELL_PLACES, edge)
    return [dilated(row.view(grid.occupied.shape)) for row in found]


def _evaluate(
    grid: OccupancyGrid,
    opacity_fn: OpacityFunction,
    cells: Tensor,
    places: Sequence[tuple[float, float, float]],
    resolution: int,
) -> Tensor:
    """Whether there is opacity at any of the places in each cell."""
    found = torch.zeros(len(cells), dtype=torch.bool, device=cells.device)
    for place in places:
        left = (~found).nonzero().squeeze(1)
        for some in torch.split(left, _CHUNK):
            points = grid.cell_points(cells[some], torch.tensor(place, device=cells.device), resolution)
            found[some] = opacity_fn(points, points.new_full((len(points),), grid.diagonal)) > 0
    return found
