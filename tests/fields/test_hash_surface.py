"""The fast surface field against differences and derivatives written out."""

from typing import Any

import pytest
import torch

from nerfcomp.descriptions import Description
from nerfcomp.fields import HashSurfaceField, build_field, describe_field

SMALL = {"levels": 4, "log2_table_size": 12, "finest_resolution": 64, "hidden_width": 16, "geometry_features": 3}


def small(**changes: object) -> HashSurfaceField:
    field = HashSurfaceField(**{**SMALL, **changes})  # type: ignore[arg-type]
    field.set_aabb(torch.tensor([[-2.0, -1.0, -1.0], [2.0, 3.0, 3.0]]))
    return field


def rough(field: HashSurfaceField) -> HashSurfaceField:
    with torch.no_grad():
        for level in field.grid.parameters():
            level.normal_(0.0, 0.05)
        field.sdf_layers[0].weight[:, 3:].normal_(0.0, 0.3)  # type: ignore[index]
    return field


def inside(field: HashSurfaceField, count: int) -> torch.Tensor:
    low, high = field.aabb.unbind()
    return low + (high - low) * (0.1 + 0.8 * torch.rand(count, 3).to(low))


def test_it_begins_as_a_sphere() -> None:
    """Random hidden layers make the sphere up to some percent: mean error and scatter, as with the published code."""
    field = small(hidden_width=256)
    x = inside(field, 4000)
    error = field.sdf(x).detach() - ((x - torch.tensor([0.0, 1.0, 1.0])).norm(dim=1) - 1.0)
    assert float(error.mean().abs()) < 0.3 and float(error.std()) < 0.3
    lengths = field.geometry(x).gradients.norm(dim=1)
    assert float((lengths - 1).abs().mean()) < 0.3


def test_normals_are_differences_over_a_cell_of_the_finest_active_level() -> None:
    field = rough(small()).double()
    x = inside(field, 50)
    for active in (2, 4):
        field.set_progress(active)
        width = 4.0 / field.grid.geometry.scales[active - 1]
        leg = width / 3**0.5
        corners = [(1, -1, -1), (-1, -1, 1), (-1, 1, -1), (1, 1, 1)]
        around = [field.sdf(x + leg * torch.tensor(corner, dtype=torch.float64)) for corner in corners]
        wanted = sum(value[:, None] * torch.tensor(c, dtype=torch.float64) for c, value in zip(corners, around))
        found = field.geometry(x)
        torch.testing.assert_close(found.gradients, wanted / (4 * leg))
        torch.testing.assert_close(found.sdf, field.sdf(x))
        assert found.laplacian is not None
        torch.testing.assert_close(found.laplacian, (sum(around) / 2 - 2 * field.sdf(x)) / leg**2)


def test_differences_of_a_quadratic_are_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradient 2 A x, and half of it along each axis is the Laplacian, whatever the step."""
    field = small().double()
    axes = torch.tensor([1.0, 2.0, -0.5], dtype=torch.float64)
    monkeypatch.setattr(field, "_hidden", lambda x: (x * x * axes).sum(1, keepdim=True).expand(-1, 16) / 16)
    with torch.no_grad():
        last: Any = field.sdf_layers[-1]
        last.weight[0] = 1 / 2  # half_side is 2
        last.bias[0] = 0.0
    x = inside(field, 20)
    found = field.geometry(x)
    torch.testing.assert_close(found.gradients, 2 * axes * x)
    assert found.laplacian is not None
    torch.testing.assert_close(found.laplacian, torch.full((20,), 5.0, dtype=torch.float64))


def test_levels_that_are_not_in_yet_have_no_effect() -> None:
    field = rough(small())
    x = inside(field, 30)
    field.set_progress(2)
    before = field.sdf(x)
    with torch.no_grad():
        field.grid.tables[3].fill_(7.0)
    assert torch.equal(before, field.sdf(x))
    field.set_progress()
    assert not torch.allclose(before, field.sdf(x))
    assert field.detail == pytest.approx(field.grid.geometry.scales[0] / field.grid.geometry.scales[3])
    with pytest.raises(ValueError, match="9 active levels"):
        field.set_progress(9)


def test_a_description_keeps_the_progress() -> None:
    field = small()
    field.set_progress(3, 0.5)
    said = Description.from_json(describe_field(field)._asdict())
    twin = build_field(said, (HashSurfaceField,))
    assert isinstance(twin, HashSurfaceField) and (twin.active_levels, twin.annealed) == (3, 0.5)


def test_derivatives_of_all_outputs() -> None:
    field = rough(small()).double().eval()
    x = inside(field, 3)
    d = torch.nn.functional.normalize(torch.randn(3, 3, dtype=torch.float64), dim=1)
    dt = torch.full((3,), 0.1, dtype=torch.float64)
    first: Any = field.sdf_layers[0].weight

    def outputs(weight: torch.Tensor, sharpness: torch.Tensor) -> torch.Tensor:
        changed = {"sdf_layers.0.weight": weight, "sharpness": sharpness}
        shade = torch.func.functional_call(_Shading(field), {f"field.{k}": v for k, v in changed.items()}, (x, d, dt))
        return torch.cat([shade.alpha, shade.rgb.flatten(), shade.normals.flatten(), shade.geometry.laplacian / 100])

    inputs = (first.detach().clone().requires_grad_(), field.sharpness.detach().clone().requires_grad_())
    assert torch.autograd.gradcheck(outputs, inputs, eps=1e-7, atol=1e-4, rtol=1e-3, fast_mode=True)


class _Shading(torch.nn.Module):
    def __init__(self, field: HashSurfaceField) -> None:
        super().__init__()
        self.field = field

    def forward(self, x: torch.Tensor, d: torch.Tensor, dt: torch.Tensor):  # type: ignore[no-untyped-def]
        return self.field.shade(x, d, dt)


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="hidden_width must lie between 1 and 1024, got 0"):
        small(hidden_width=0)
