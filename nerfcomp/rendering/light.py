"""Which cells of an occupancy grid show in pictures: the others may be called empty, and cost a file nothing.

Notation as in `nerfcomp.rendering.occupancy`; the light of a cell is the largest weight ``transmittance * alpha`` that
any sample in it has.
"""

import torch
from torch import Tensor
from torch.nn.functional import max_pool3d

from nerfcomp.kernels.march.bricks import fill_inner
from nerfcomp.rendering.emptiness import cell_numbers
from nerfcomp.rendering.visibility import optical_depth


def sample_weights(own: Tensor, offsets: Tensor) -> Tensor:
    """Weights of samples from their own optical depths.

    Args:
        own: (M,) float64 optical depth of each sample, ``-log(1 - alpha)``.
        offsets: (N + 1,) the samples of ray r are ``offsets[r]:offsets[r + 1]``.

    Returns:
        (M,) float64 in [0, 1].

    >>> half = torch.full((3,), 2.0, dtype=torch.float64).log()
    >>> [round(weight, 3) for weight in sample_weights(half, torch.tensor([0, 2, 3])).tolist()]
    [0.5, 0.25, 0.5]
    """
    before = optical_depth(own, torch.ones_like(own), offsets)
    return torch.exp(-before) * -torch.expm1(-own)


def add_light(light: Tensor, x: Tensor, weights: Tensor, aabb: Tensor) -> None:
    """Let samples light their cells, in place.

    Args:
        light: (C, R, R, R) float32 light so far.
        x: (M, 3) positions of samples; those outside the box light nothing.
        weights: (M,) in [0, 1].
        aabb: (2, 3) box of the coarsest cascade.

    >>> light, box = torch.zeros(1, 4, 4, 4), torch.tensor([[-1.0] * 3, [1.0] * 3])
    >>> add_light(light, torch.tensor([[0.1, 0.1, 0.1], [0.2, 0.2, 0.2]]), torch.tensor([0.5, 0.25]), box)
    >>> light[0, 2, 2, 2].item(), light.sum().item()
    (0.5, 0.5)
    """
    cells = cell_numbers(x, len(light), light.shape[1], aabb)
    inside = cells >= 0
    light.view(-1).scatter_reduce_(0, cells[inside], weights[inside].to(light), "amax")


def lit_cells(light: Tensor, least: float) -> Tensor:
    """Cells with more than so much light, and their 26 neighbours, as no ray of finitely many meets every cell.

    Args:
        light: (C, R, R, R).
        least: Light of a cell that shows, at least 0.

    Returns:
        (C, R, R, R) bool.

    >>> light = torch.zeros(1, 4, 4, 4)
    >>> light[0, 0, 0, 0] = 0.5
    >>> int(lit_cells(light, 0.1).sum()), int(lit_cells(light, 0.5).sum())
    (8, 0)
    """
    lit = fill_inner(light > least).to(torch.float32)
    return max_pool3d(lit.unsqueeze(1), 3, stride=1, padding=1).squeeze(1) > 0
