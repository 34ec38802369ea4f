"""The visual hull as a signed distance."""

import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from nerfcomp.kernels.march.bricks import fill_inner


def hull_distance(occupied: Tensor) -> Tensor:
    """Signed distance to the border of the occupied cells, positive outside.

    Args:
        occupied: (C, R, R, R) bool.

    Returns:
        (R, R, R) float32 at the middles of the cells, in half widths of the box.

    >>> hull_distance(torch.tensor([0, 0, 1, 1, 1, 1, 0, 0]).bool().expand(1, 8, 8, 8))[0, 0].tolist()
    [0.375, 0.125, -0.125, -0.375, -0.375, -0.125, 0.125, 0.375]
    """
    cells = fill_inner(occupied.cpu())[-1].numpy()
    if cells.all() or not cells.any():
        return torch.full(cells.shape, -1.0 if cells.any() else 1.0)
    cell = 2 / len(cells)
    outside, inside = distance_transform_edt(~cells), distance_transform_edt(cells)
    return torch.from_numpy((outside - inside + (cells - 0.5)) * cell).float()
