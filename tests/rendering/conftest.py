"""Fields with a closed form, for rendering tests."""

from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from nerfcomp.geometry.rays import Rays


class Shade(NamedTuple):
    """Opacity and colour of samples."""

    alpha: Tensor
    rgb: Tensor
    normals: Tensor | None = None


class Ball(NamedTuple):
    """A ball of constant density whose colour depends on the position and the direction."""

    radius: float = 0.7
    sigma: float = 20.0

    def density(self, x: Tensor) -> Tensor:
        return torch.where(x.norm(dim=1) < self.radius, self.sigma, 0.0)

    def shade(self, x: Tensor, d: Tensor, dt: Tensor) -> Shade:
        return Shade(-torch.expm1(-self.density(x) * dt), torch.sigmoid(3 * x + d))

    def chord(self, rays: Rays) -> Tensor:
        """Length (N,) of each ray inside the ball."""
        along = (rays.origins * rays.directions).sum(1)
        squared = along**2 - (rays.origins**2).sum(1) + self.radius**2
        return 2 * torch.sqrt(squared.clamp(min=0))


@pytest.fixture
def ball() -> Ball:
    return Ball()


@pytest.fixture
def rays_into() -> Callable[[int, float], Rays]:
    """Makes N rays from a sphere of radius 3 that aim into a cube of a half side."""

    def make(n: int, half: float) -> Rays:
        origins = torch.nn.functional.normalize(torch.randn(n, 3), dim=1) * 3
        directions = torch.nn.functional.normalize((torch.rand(n, 3) * 2 - 1) * half - origins, dim=1)
        return Rays(origins, directions, torch.zeros(n, 1), torch.full((n, 1), 10.0), directions)

    return make
