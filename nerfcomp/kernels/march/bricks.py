"""An occupancy packed for marching: a bit per cell, and how far around it everything is empty."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

_FOUR_BYTES_TO_BITS = 0x01020408  # this product gathers the lowest bits of four bytes in bits 24 to 27


class Bricks(NamedTuple):
    """An occupancy packed for the march: bricks of 4^3 cells, B = R / 4 along an axis.

    Attributes:
        words: (C, B, B, B) int64; bit ``16 x + 4 y + z`` is the occupancy of cell (x, y, z) of the brick.
        levels: (C, B, B, B) uint8; 0 for a brick with an occupied cell, else 1 + log2 of the edge, in bricks, of the
            largest aligned empty block around it.
    """

    words: Tensor
    levels: Tensor


def pack_bricks(occupied: Tensor) -> Bricks:
    """Pack an occupancy for the march.

    Args:
        occupied: (C, R, R, R) bool, R divisible by 4. Where a finer cascade covers a cell, the finer one decides.

    Returns:
        The bricks, on the same device.

    >>> occupied = torch.zeros(1, 16, 16, 16, dtype=torch.bool)
    >>> occupied[0, 0, 0, 2] = True
    >>> words, levels = pack_bricks(occupied)
    >>> words[0, 0, 0, 0].item(), levels[0, :, 0, 0].tolist()
    (4, [0, 1, 2, 2])
    """
    cells = fill_inner(occupied).contiguous()
    words = words_numpy(cells) if cells.device.type == "cpu" else words_torch(cells)
    return Bricks(words, torch.stack([_empty_levels(cube == 0) for cube in words]))


def words_numpy(cells: Tensor) -> Tensor:
    """Words of the bricks, on the CPU."""
    fours = cells.numpy().view(np.uint32)
    edge = fours.shape[1] // 4
    rows = (fours * np.uint32(_FOUR_BYTES_TO_BITS) >> np.uint32(24)).astype(np.uint64) & np.uint64(15)
    rows = rows.reshape(-1, edge, 4, edge, 4, edge)
    shifts = np.arange(0, 64, 4, dtype=np.uint64).reshape(4, 1, 4, 1)
    return torch.from_numpy(np.bitwise_or.reduce(rows << shifts, axis=(2, 4)).view(np.int64))


def words_torch(cells: Tensor) -> Tensor:
    """Words of the bricks, on any device."""
    cascades, edge = len(cells), cells.shape[1] // 4
    bricks = (
        cells.view(cascades, edge, 4, edge, 4, edge, 4).permute(0, 1, 3, 5, 2, 4, 6).reshape(-1, edge, edge, edge, 64)
    )
    bits = torch.arange(64, device=cells.device)
    return (bricks.long() << bits).sum(-1)  # of different bits: the sum is their union, the sign bit included


def fill_inner(occupied: Tensor) -> Tensor:
    """Copy each cascade, pooled, into the inner half of the next coarser one, which no march ever looks up there.

    Args:
        occupied: (C, R, R, R) bool; R divisible by 4 when C > 1.

    Returns:
        (C, R, R, R) bool in which every cascade tells the truth about its whole cube.
    """
    filled = [occupied[0]]
    quarter = occupied.shape[1] // 4
    for coarser in occupied[1:]:
        inner = slice(quarter, 3 * quarter)
        cells = coarser.clone()
        cells[inner, inner, inner] = _pool(filled[-1])
        filled.append(cells)
    return torch.stack(filled)


def _pool(cells: Tensor) -> Tensor:
    """Halve the resolution of (R, R, R) bools; a block is set when any of its eight cells is."""
    half = len(cells) // 2
    return cells.reshape(half, 2, half, 2, half, 2).any(5).any(3).any(1)


def _empty_levels(empty: Tensor) -> Tensor:
    """Levels of one cascade from its empty bricks (B, B, B)."""
    levels, edge = empty.to(torch.uint8), 1
    occupied = ~empty
    while len(occupied) % 2 == 0:
        occupied, edge = _pool(occupied), 2 * edge
        block = (~occupied).to(torch.uint8)
        for axis in range(3):
            block = block.repeat_interleave(edge, axis)
        levels += block
    return levels
