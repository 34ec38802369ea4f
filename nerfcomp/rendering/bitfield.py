"""Occupancy in the bit order of instant-ngp and ngp_pl checkpoints.

There, cells follow a Morton curve: bit 3b of a cell's number is bit b of its x index, bit 3b + 1 that of y, bit 3b + 2
that of z. Eight consecutive cells share a byte, the first one in its lowest bit; cascades follow one another.
"""

import numpy as np
import torch
from torch import Tensor

from nerfcomp.kernels.march.bricks import fill_inner


def morton_order(resolution: int) -> Tensor:
    """Number of every cell along the Morton curve.

    Args:
        resolution: Cells along an axis, R, a power of two.

    Returns:
        (R, R, R) int64, indexed [x, y, z].

    Raises:
        ValueError: The resolution is no power of two.

    >>> morton_order(2).tolist()
    [[[0, 4], [2, 6]], [[1, 5], [3, 7]]]
    """
    if resolution < 1 or resolution & (resolution - 1):
        raise ValueError(f"A Morton curve needs a power of two cells along an axis, found {resolution}.")
    index = torch.arange(resolution)
    spread = torch.zeros_like(index)
    for bit in range(resolution.bit_length() - 1):
        spread |= (index >> bit & 1) << 3 * bit
    return spread.view(-1, 1, 1) | spread.view(-1, 1) << 1 | spread << 2


def to_morton_bitfield(occupied: Tensor) -> Tensor:
    """Pack an occupancy into Morton-ordered bits.

    Args:
        occupied: (C, R, R, R) bool, R a power of two and at least 2. The inner part of each coarser cascade is taken
            from the finer one, as those programs expect.

    Returns:
        (C * R^3 / 8,) uint8.

    >>> occupied = torch.zeros(1, 2, 2, 2, dtype=torch.bool)
    >>> occupied[0, 1, 0, 0] = True
    >>> to_morton_bitfield(occupied).tolist()
    [2]
    """
    cells = fill_inner(occupied.cpu()).flatten(1)
    curve = torch.empty_like(cells)
    curve[:, morton_order(occupied.shape[1]).flatten()] = cells
    return torch.from_numpy(np.packbits(curve.numpy(), bitorder="little"))


def from_morton_bitfield(bits: Tensor, cascades: int, resolution: int) -> Tensor:
    """Unpack Morton-ordered bits; inverts `to_morton_bitfield`.

    Args:
        bits: (C * R^3 / 8,) uint8.
        cascades: C.
        resolution: R.

    Returns:
        (C, R, R, R) bool.

    Raises:
        ValueError: Another number or type of bytes.

    >>> from_morton_bitfield(torch.tensor([2], dtype=torch.uint8), 1, 2).nonzero().tolist()
    [[0, 1, 0, 0]]
    """
    if bits.dtype != torch.uint8 or bits.numel() * 8 != cascades * resolution**3:
        raise ValueError(
            f"An occupancy of {cascades} x {resolution}^3 cells takes {cascades * resolution**3 // 8} bytes, "
            f"found {bits.numel()} of {bits.dtype}."
        )
    curve = torch.from_numpy(np.unpackbits(bits.cpu().flatten().numpy(), bitorder="little").astype(bool))
    return curve.view(cascades, -1)[:, morton_order(resolution).flatten()].view(cascades, *[resolution] * 3)
