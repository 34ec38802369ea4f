"""Refreshing cells on GPUs. Notation as in `nerfcomp.kernels.refresh`.

Three passes, as a cell may occur several times: all read before any writes, and all have faded before any grows.
"""

import torch
from torch import Tensor

from nerfcomp.kernels.triton_setup import block_size, ceil_div, jit, launch, tl

_BLOCK = 1024
_READ, _WRITE, _GROW = 0, 1, 2


@jit
def _refresh(
    density: tl.tensor,
    cells: tl.tensor,
    found: tl.tensor,
    decay: tl.tensor,
    faded: tl.tensor,
    number: tl.tensor,
    PASS: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Fade cells into ``faded``, write them back, or let them grow to what is found."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    live = at < number
    cell = tl.load(cells + at, mask=live, other=0)
    if PASS == 0:
        old = tl.load(density + cell, mask=live, other=0.0)
        tl.store(faded + at, tl.where(old == float("inf"), 0.0, old * tl.load(decay)), mask=live)
    elif PASS == 1:
        tl.store(density + cell, tl.load(faded + at, mask=live, other=0.0), mask=live)
    else:
        tl.atomic_max(density + cell, tl.load(found + at, mask=live, other=0.0), mask=live, sem="relaxed")


def refresh_triton(density: Tensor, cells: Tensor, found: Tensor, decay: Tensor) -> None:
    """Do what `nerfcomp.kernels.refresh.refresh_torch` does, for float32 on a GPU."""
    faded, number = torch.empty_like(found), len(cells)
    block = block_size(number, _BLOCK)
    arguments = (density, cells.contiguous(), found.contiguous(), decay, faded, number)
    for step in (_READ, _WRITE, _GROW):
        grid = (ceil_div(number, block),)
        launch(_refresh, grid, density.device, *arguments, PASS=step, BLOCK=block, num_warps=4)
