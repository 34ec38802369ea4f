"""Opacity of sections against the formulas of the paper, written out."""

import pytest
import torch
from torch import Tensor

from nerfcomp.fields.surface import Geometry, SurfaceField, section_alpha


def published_alpha(sdf: Tensor, cos: Tensor, dt: Tensor, inv_s: float, ratio: float) -> Tensor:
    """NeuS's code, in words: slopes that look away count while annealing; the quotient of logistic distributions."""
    iter_cos = -(torch.relu(-cos * 0.5 + 0.5) * (1 - ratio) + torch.relu(-cos) * ratio)
    after, before = sdf + iter_cos * dt * 0.5, sdf - iter_cos * dt * 0.5
    cdf_before, cdf_after = 1 / (1 + torch.exp(-before * inv_s)), 1 / (1 + torch.exp(-after * inv_s))
    return ((cdf_before - cdf_after + 1e-5) / (cdf_before + 1e-5)).clip(0, 1)


class Plane(SurfaceField):
    """Distance to the plane z = 0.1."""

    def __init__(self, sharp: float = 60.0) -> None:
        super().__init__()
        self.sharp = torch.tensor([sharp])

    @property
    def inv_s(self) -> Tensor:
        return self.sharp.to(self.aabb.dtype)

    def sdf(self, x: Tensor) -> Tensor:
        return x[:, 2] - 0.1

    def geometry(self, x: Tensor) -> Geometry:
        return Geometry(self.sdf(x), torch.tensor([[0.0, 0.0, 1.0]]).to(x).expand(len(x), 3), x)

    def color(self, x: Tensor, d: Tensor, geometry: Geometry) -> Tensor:
        return geometry.features.abs()


@pytest.mark.parametrize("ratio", [0.0, 0.4, 1.0])
def test_opacity_is_that_of_the_publication(ratio: float) -> None:
    sdf, dt = torch.linspace(-0.3, 0.3, 200, dtype=torch.float64), torch.full((200,), 0.02, dtype=torch.float64)
    cos = torch.linspace(-1, 1, 200, dtype=torch.float64).roll(77)
    found = section_alpha(sdf, cos, dt, torch.tensor([80.0], dtype=torch.float64), ratio)
    torch.testing.assert_close(found, published_alpha(sdf, cos, dt, 80.0, ratio))


def test_first_and_second_derivatives() -> None:
    sdf = torch.tensor([0.01, -0.02, 0.03], dtype=torch.float64, requires_grad=True)
    slope = torch.tensor([-0.9, -0.3, -0.5], dtype=torch.float64, requires_grad=True)
    inv_s = torch.tensor([30.0], dtype=torch.float64, requires_grad=True)
    dt = torch.full((3,), 0.05, dtype=torch.float64)
    for ratio in (0.5, 1.0):
        assert torch.autograd.gradcheck(lambda *a: section_alpha(a[0], a[1], dt, a[2], ratio), (sdf, slope, inv_s))
        assert torch.autograd.gradgradcheck(lambda *a: section_alpha(a[0], a[1], dt, a[2], ratio), (sdf, slope, inv_s))


def test_both_ends_say_what_middle_and_normal_say() -> None:
    field, generator = Plane(), torch.Generator().manual_seed(0)
    x = torch.rand(100, 3, generator=generator) * 0.3
    d = torch.nn.functional.normalize(torch.randn(100, 3, generator=generator), dim=1)
    dt = torch.full((100,), 0.01)
    for annealed in (0.3, 1.0):
        field.set_progress(annealed=annealed)
        torch.testing.assert_close(field.alpha(x, d, dt), field.shade(x, d, dt).alpha, atol=1e-4, rtol=1e-3)
    assert field.arguments["annealed"] == 1.0


def test_no_direction_weighs_more_than_the_peak() -> None:
    field, generator = Plane(), torch.Generator().manual_seed(0)
    x = torch.rand(200, 3, generator=generator) - 0.5
    d = torch.nn.functional.normalize(torch.randn(200, 3, generator=generator), dim=1)
    dt = torch.full((200,), 0.01)
    cell = torch.rand(200, 3, generator=generator) * 3 / 128 / 2  # anywhere else in the same cell
    for place in (x, x - cell * torch.tensor([0.0, 0, 1])):
        arrives = torch.sigmoid(field.sdf(place - d * dt[:, None] / 2) * field.inv_s)
        assert (field.peak_alpha(x, dt) >= arrives * field.alpha(place, d, dt) - 2e-5).all()


def test_far_inside_there_is_nothing_to_see() -> None:
    field, dt = Plane(), torch.full((3,), 0.01)
    z = torch.tensor([-1.4, 0.1, 1.4])
    assert field.alpha(torch.zeros(3, 3) + z[:, None], -torch.eye(3)[[2, 2, 2]], dt)[0] > 0.2
    peak = field.peak_alpha(torch.zeros(3, 3) + z[:, None], dt)
    assert peak[0] < 1e-9 and peak[1] > 0.1 and peak[2] < 1e-9


def test_a_surface_is_cut_at_distance_zero() -> None:
    field = Plane()
    assert field.surface_level() == 0.0 and field.level_count == 1 and field.detail == 1.0
    assert field.solidity(torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 0.3]])).sign().tolist() == [1.0, -1.0]
