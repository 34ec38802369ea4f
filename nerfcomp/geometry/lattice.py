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


def volume_extent(shape: Sequence[int], spacing: Sequence[float] = (1.0, 1.0, 1.0)) -> tuple[float, float, float]:
    """Half the width of a volume along each axis: 1 along the longest; voxels are cubes there unless told otherwise.

    Args:
        shape: Voxels along x, y and z, at least 1 each.
        spacing: Distance between neighbours along each axis.

    >>> volume_extent((5, 3, 1)), volume_extent((5, 3, 2), spacing=(1.0, 1.0, 4.0))
    ((1.0, 0.5, 0.0), (1.0, 0.5, 1.0))
    """
    widths = [(n - 1) * step for n, step in zip(shape, spacing)]
    longest = max(widths) or 1.0
    x, y, z = (width / longest for width in widths)
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
