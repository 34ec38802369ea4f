"""Where the voxels of a volume lie in the cube [-1, 1]^3 of its field, and batches of them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from numpy.typing import NDArray
from torch import Tensor


class VolumeBatch(NamedTuple):
    """Points with known values.

    Attributes:
        x: (M, 3) positions in [-1, 1].
        values: (M,) normalised to [-1, 1].
        weights: (M,) of each point in the loss; 1 on average.
        blocks: (M,) int64 block of each point.
    """

    x: Tensor
    values: Tensor
    weights: Tensor
    blocks: Tensor


class VolumeSlab(NamedTuple):
    """Some layers of a volume.

    Attributes:
        start: First layer.
        values: (A, Y, Z) in the stored type; none where another rank has one slab more.
    """

    start: int
    values: NDArray[Any]


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
