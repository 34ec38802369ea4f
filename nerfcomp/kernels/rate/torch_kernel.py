"""Rounding and shrinking in plain torch: the reference. Notation as in `nerfcomp.kernels.rate`."""

import torch
from torch import Tensor

_WORD = 2**32 - 1


@torch.no_grad()
def round_levels_torch(weight: Tensor, step: float, out: Tensor, dead_zone: float, seed: int | None) -> None:
    """See `nerfcomp.kernels.rate.round_levels`."""
    scaled = weight * (1.0 / step)
    values = torch.floor(scaled + 0.5) if seed is None else scaled + _noise(weight, seed)
    out.copy_(torch.where(scaled.abs() >= dead_zone, values * step, 0.0))


def _noise(weight: Tensor, seed: int) -> Tensor:
    """Numbers in [-0.5, 0.5) that place and seed decide: the last mixing of MurmurHash3, in 32 bits."""
    word = (torch.arange(weight.numel(), device=weight.device) * 0x9E3779B9 + seed) & _WORD
    word = word ^ (word >> 16)
    word = (word * 0x85EBCA6B) & _WORD
    word = word ^ (word >> 13)
    word = (word * 0xC2B2AE35) & _WORD
    word = word ^ (word >> 16)
    return ((word >> 8).to(weight.dtype) * 2.0**-24 - 0.5).view(weight.shape)


@torch.no_grad()
def shrink_torch(weight: Tensor, exp_avg_sq: Tensor, step: float, pull: tuple[float, float, float, float]) -> None:
    """See `nerfcomp.kernels.rate.shrink`."""
    first, further, root_factor, eps = pull
    size = weight.abs()
    distance = torch.where(size < step, first, further) / (exp_avg_sq.sqrt() * root_factor + eps)
    shrunk = weight.sign() * (size - distance).clamp(min=0.0)
    weight.copy_(torch.where(exp_avg_sq > 0, shrunk, weight))
