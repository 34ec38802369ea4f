"""Where the voxels of a volume lie in the cube [-1, 1]^3 of its field."""

from collections.abc import Sequence

import torch
from torch import Tensor


def volume_extent(shape: Sequence[int]) -> tuple[float, float, float]:
    """Half the width of a volume along each axis: 1 along the longest, so that voxels are cubes there.

    Args:
        shape: Voxels along x, y and z, at least 1 each.

    >>> volume_extent((5, 3, 1))
    (1.0, 0.5, 0.0)
    """
    longest = max(max(shape) - 1, 1)
    x, y, z = ((n - 1) / longest for n in shape)
    return x, y, z


def lattice_positions(index: Tensor, shape: Sequence[int]) -> Tensor:
    """Positions of voxels, which may lie between the voxels of the lattice.

    Args:
        index: (M, 3) voxel coordinates along x, y and z, integers or fractions, in [0, n - 1].
        shape: Voxels of the volume along x, y and z.

    Returns:
        (M, 3) float32 in [-1, 1].

    >>> lattice_positions(torch.tensor([[0, 2, 0], [4, 1, 0]]), (5, 3, 1)).tolist()
    [[-1.0, 0.5, 0.0], [1.0, 0.0, 0.0]]
    """
    half = torch.tensor(shape).sub(1).div(2).to(index.device, torch.float64)
    scaled = (index.double() - half) * (2.0 / max(max(shape) - 1, 1))
    return scaled.float()
