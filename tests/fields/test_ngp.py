"""The NGP field against plain formulas, and the rules of rebuilding one from a description."""

import math

import pytest
import torch
from torch import nn

from nerfcomp.descriptions import Description
from nerfcomp.errors import ContainerError
from nerfcomp.fields import NGPField, build_field, density_to_alpha, describe_field

SMALL = {"levels": 3, "log2_table_size": 8, "base_resolution": 4, "finest_resolution": 16, "hidden_width": 8}


def small_field(**arguments: int) -> NGPField:
    torch.manual_seed(0)
    return NGPField(**{**SMALL, **arguments}, backend="torch")  # type: ignore[arg-type]


def test_default_has_the_size_of_ngp_pl() -> None:
    with torch.device("meta"):
        field = NGPField()
    table = sum(p.numel() for p in field.grid.parameters())
    assert table == 11_445_040
    assert sum(p.numel() for p in field.parameters()) == table + 3072 + (64 * 32 + 64 * 64 + 3 * 64)


def test_density_is_per_world_length() -> None:
    field = small_field()
    x = torch.rand(20, 3) * 3 - 1.5
    before = field.density(x)
    field.set_aabb(torch.tensor([[-3.0] * 3, [3.0] * 3]))
    torch.testing.assert_close(field.density(2 * x), before / 2)


def test_cascades_shrink_the_unit() -> None:
    field, wide = small_field(), small_field(cascades=3)
    wide.load_state_dict(field.state_dict())
    x = torch.rand(5, 3)
    torch.testing.assert_close(wide.density(x), 4 * field.density(x))


def test_the_grid_follows_the_cubes_unless_told() -> None:
    field, told = small_field(), small_field(cascades=2, finest_resolution=64)
    names = {name for name, _ in field.named_parameters()}
    for module in (field, told):
        module.set_cascades(4)
    assert field.arguments["cascades"] == 4 and {name for name, _ in field.named_parameters()} == names
    assert told.arguments["cascades"] == 2 and told.arguments["finest_resolution"] == 64
    assert max(NGPField(cascades=3).grid.geometry.resolutions) == pytest.approx(4096, abs=2)


def test_shade_agrees_with_the_formula() -> None:
    field = small_field()
    x, d, dt = torch.rand(7, 3), nn.functional.normalize(torch.randn(7, 3), dim=1), torch.rand(7)
    shade = field.shade(x, d, dt)
    h = field.density_mlp(field.grid((x + 1.5) / 3))
    rgb = torch.sigmoid(field.rgb_mlp(torch.cat([field.directions(d), h], dim=1)))
    torch.testing.assert_close(shade.alpha, 1 - torch.exp(-h[:, 0].exp() / 3 * dt))
    torch.testing.assert_close(shade.rgb, rgb)


def test_no_samples() -> None:
    shade = small_field().shade(torch.zeros(0, 3), torch.zeros(0, 3), torch.zeros(0))
    assert shade.alpha.shape == (0,) and shade.rgb.shape == (0, 3)


def test_alpha_keeps_small_opacities() -> None:
    assert density_to_alpha(torch.tensor(1e-9), torch.tensor(1.0)).item() == pytest.approx(1e-9, rel=1e-5)


@pytest.mark.parametrize("corners", [[[0.0] * 3, [0.0] * 3], [[0.0] * 3, [math.nan] * 3]])
def test_impossible_boxes_are_refused(corners: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="two finite corners"):
        small_field().set_aabb(torch.tensor(corners))


def test_description_rebuilds_the_same_field() -> None:
    field = small_field()
    twin = build_field(describe_field(field), [NGPField])
    assert isinstance(twin, NGPField)
    twin.load_state_dict(field.state_dict())
    x = torch.rand(9, 3)
    assert torch.equal(twin.density(x), field.density(x))


@pytest.mark.parametrize(
    ("description", "message"),
    [
        (Description("os.system", {}), "may be built"),
        (Description("nerfcomp.fields.NGPField", {"levels": "16"}), "needs int"),
        (Description("nerfcomp.fields.NGPField", {"levels": True}), "needs int"),
        (Description("nerfcomp.fields.NGPField", {"command": "rm"}), "unknown argument"),
        (Description("nerfcomp.fields.NGPField", {"levels": 0}), "between 1 and 64"),
        (Description("nerfcomp.fields.NGPField", {"log2_table_size": 60}), "do not work"),
        (Description("nerfcomp.fields.NGPField", {"log2_table_size": 30, "levels": 60}), "at most"),
    ],
)
def test_foreign_descriptions_are_refused(description: Description, message: str) -> None:
    with pytest.raises(ContainerError, match=message):
        build_field(description, [NGPField])


@pytest.mark.parametrize("value", [None, [], {"class_path": 1, "init_args": {}}, {"class_path": "a"}])
def test_malformed_descriptions_are_refused(value: object) -> None:
    with pytest.raises(ContainerError, match="class_path and init_args"):
        Description.from_json(value)
