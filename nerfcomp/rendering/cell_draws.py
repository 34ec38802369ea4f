"""Which cells an update of an occupancy grid evaluates, and where in them.

Every process draws the same. On GPUs a draw is a hash of the number of the update and its own number, so that the host
neither waits nor sends anything.
"""

import torch
from torch import Tensor

_MIX = 0x45D9F3B
_WORD = 0xFFFFFFFF
_LONGEST_INTERVAL = 16.0  # updates whose decay one visit may make up for
_SEEDS = 1_000_003  # numbers of updates stay below
_STRIDE = 2654435761  # prime and above any number of cells: multiples of it visit every cell once


def uniform(count: int, update: int, stream: int, device: torch.device) -> Tensor:
    """Numbers (count,) in [0, 1), float32: the integer hash of each draw's number and of ``update`` and ``stream``.

    >>> numbers = uniform(1000, 3, 0, torch.device("cpu"))
    >>> bool((numbers >= 0).all() and (numbers < 1).all()), abs(round(numbers.mean().item() - 0.5, 1))
    (True, 0.0)
    """
    word = torch.arange(count, device=device) + (update * 0x9E3779B1 + stream * 0x85EBCA77) % 2**32
    for _ in range(2):
        word = (word & _WORD) ^ (word & _WORD) >> 16
        word = word * _MIX
    word = (word & _WORD) ^ (word & _WORD) >> 16
    return (word >> 8).float() * 2.0**-24


def places(number: int, update: int, device: torch.device) -> Tensor:
    """Random places in cells (K, 3), in [0, 1), the same in every process."""
    if device.type != "cpu":
        return uniform(3 * number, update, 0, device).view(-1, 3)
    return torch.rand(number, 3, generator=torch.Generator().manual_seed(update))


def chosen_cells(alive: Tensor, occupied: Tensor, n_cells: int | None, update: int) -> tuple[Tensor, Tensor]:
    """Half of the cells in turn, half of them occupied ones.

    Args:
        alive: (A,) int64, cells that may be occupied.
        occupied: (C,) bool.
        n_cells: Number of cells; none for half of all.
        update: Number of the update.

    Returns:
        The cells, and a scalar: the updates between two visits of an occupied one.
    """
    wanted = min(len(alive), n_cells or len(occupied) // 2)
    number = (wanted + 1) // 2
    order = (torch.arange(number, device=alive.device) + update % _SEEDS * number) * _STRIDE % max(len(alive), 1)
    if alive.device.type == "cpu":
        cells = occupied.nonzero().squeeze(1)
        generator = torch.Generator().manual_seed(update + 500_009)
        pick = torch.randint(max(1, len(cells)), (min(wanted - number, len(cells)),), generator=generator)
        interval, picked = torch.tensor(len(cells) / max(len(pick), 1), dtype=torch.float64), cells[pick]
    else:
        picked, total = occupied_cells(occupied, wanted - number, update)
        interval = total / max(wanted - number, 1)
    return torch.cat([alive[order], picked]), interval.clamp(1.0, _LONGEST_INTERVAL)


def occupied_cells(occupied: Tensor, count: int, update: int) -> tuple[Tensor, Tensor]:
    """Draw occupied cells, with repetition.

    Args:
        occupied: (C,) bool.
        count: Number of cells to draw.
        update: Number of the update.

    Returns:
        Cells (count,) int64, the last ones of the grid where none is occupied, and the number of occupied ones, scalar.

    >>> cells, number = occupied_cells(torch.tensor([False, True, False, True]), 50, 0)
    >>> sorted(set(cells.tolist())), number.item()
    ([1, 3], 2)
    """
    sums = occupied.cumsum(0)
    total = sums[-1:]
    target = (uniform(count, update, 1, occupied.device).double() * total).long().clamp(min=0) + 1
    return torch.searchsorted(sums, target).clamp(max=len(occupied) - 1), total.squeeze(0)
