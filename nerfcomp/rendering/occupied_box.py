"""What a trained field leaves empty, for a network that divides another box into other cells.

Notation: ``C`` cascades of ``R^3`` cells, indexed ``[c, x, y, z]``; the last one covers the whole box.
"""

import torch
from torch import Tensor
from torch.nn.functional import max_pool3d

from nerfcomp.kernels.march.bricks import fill_inner

_ROUNDING = 1e-6  # of a cell: faces that coincide do not overlap


def occupied_box(occupied: Tensor, aabb: Tensor) -> Tensor:
    """Find the least box about all occupied cells.

    Args:
        occupied: (C, R, R, R) bool.
        aabb: (2, 3) box that they divide.

    Returns:
        (2, 3) least and greatest corner; ``aabb`` itself where nothing is occupied.

    >>> occupied = torch.zeros(1, 4, 4, 4, dtype=torch.bool)
    >>> occupied[0, 1, 2, 2:] = True
    >>> occupied_box(occupied, torch.tensor([[0.0] * 3, [8.0] * 3])).tolist()
    [[2.0, 4.0, 4.0], [4.0, 6.0, 8.0]]
    """
    cells = fill_inner(occupied)[-1].nonzero().to(aabb)
    if len(cells) == 0:
        return aabb
    ends = torch.stack([cells.amin(0), cells.amax(0) + 1])
    return aabb[0] + ends * (aabb[1] - aabb[0]) / len(occupied[-1])


def resampled_occupancy(occupied: Tensor, aabb: Tensor, box: Tensor, resolution: int, margin: int = 0) -> Tensor:
    """Divide another box: a cell of it is occupied if it overlaps one that is.

    Args:
        occupied: (C, R, R, R) bool.
        aabb: (2, 3) box that they divide; what is outside is empty.
        box: (2, 3) other box.
        resolution: S, cells along each of its axes.
        margin: Cells beside these, in all directions, are occupied as well, up to this many away.

    Returns:
        (1, S, S, S) bool.

    >>> occupied = torch.zeros(1, 4, 4, 4, dtype=torch.bool)
    >>> occupied[0, 1] = True
    >>> box = torch.tensor([[0.0] * 3, [8.0] * 3])
    >>> resampled_occupancy(occupied, box, box, 8)[0, :, 0, 0].long().tolist()
    [0, 0, 1, 1, 0, 0, 0, 0]
    >>> resampled_occupancy(occupied, box, box / 2, 4, margin=1)[0, :, 0, 0].long().tolist()
    [0, 1, 1, 1]
    """
    cells = fill_inner(occupied)[-1]
    side, spans = len(cells), ((box - aabb[0]) / (aabb[1] - aabb[0])).double().cpu()
    steps = torch.arange(resolution + 1, dtype=torch.float64) / resolution
    for axis in range(3):
        edges = side * (spans[0, axis] + steps * (spans[1, axis] - spans[0, axis]))
        first = (edges[:-1] + _ROUNDING).floor().clamp(0, side).long().tolist()
        last = (edges[1:] - _ROUNDING).ceil().clamp(0, side).long().tolist()
        cells = torch.stack([cells.narrow(axis, a, max(b - a, 0)).any(axis) for a, b in zip(first, last)], axis)
    return max_pool3d(cells[None].float(), 2 * margin + 1, 1, margin) > 0
