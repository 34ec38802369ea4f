"""Opacities of fields that are given by their densities."""

from collections.abc import Callable

import torch
from torch import Tensor

Density = Callable[[Tensor], Tensor]


def about(density: Density) -> Callable[[Tensor, Tensor], Tensor]:
    """Opacity of intervals about positions, as an occupancy asks for it."""
    return lambda x, dt: -torch.expm1(-density(x) * dt)


def along(density: Density) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """Opacity of intervals along rays, as samplers ask for it."""
    return lambda x, d, dt: -torch.expm1(-density(x) * dt)
