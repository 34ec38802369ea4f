"""Students that read a hash grid at points inside their box."""

from typing import Any

import pytest
import torch

from nerfcomp.errors import ContainerError
from nerfcomp.fields import Bounds, LightField, build_field, describe_field
from nerfcomp.fields.block_points import block_points
from nerfcomp.geometry.rays import camera_rays
from tests.fields.test_light_field import camera, shaken

GRID: dict[str, Any] = {
    "in_box": True, "grid_levels": 2, "grid_features": 3, "base_resolution": 4, "finest_resolution": 9,
    "log2_table_size": 8,
}  # fmt: skip
BOUNDS = Bounds(2.0, 6.0)


def with_grid(**changes: Any) -> LightField:
    field = shaken(**{**GRID, **changes})
    field.set_aabb(torch.tensor([[-1.0, -1.2, -0.8], [1.1, 1.0, 0.9]]))
    assert field.grid is not None
    for table in field.grid.tables:
        torch.nn.init.normal_(table)
    return field


def test_points_divide_the_part_of_a_ray_that_is_inside_the_box() -> None:
    views, box = camera(26, 40), torch.tensor([[-1.0, -1.2, -0.8], [1.1, 1.0, 0.9]])
    points = block_points(views, 2, 4, BOUNDS, aabb=box).view(2, 13, 20, 4, 3)
    hit = 0
    for row in range(13):
        for column in range(20):
            x, y = (torch.tensor([2.0 * index + 0.5]) for index in (column, row))
            ray = camera_rays(views, torch.tensor([1]), x, y, near=2.0, far=6.0)
            t = torch.linspace(2.0, 6.0, 4001)
            along = ray.origins + ray.directions * t[:, None]
            inside = t[((along >= box[0]) & (along <= box[1])).all(-1)]
            if len(inside) < 20:
                continue
            hit += 1
            parts = inside[0] + (inside[-1] - inside[0]) * torch.tensor([0.125, 0.375, 0.625, 0.875])
            expected = ray.origins + ray.directions * parts[:, None]
            assert torch.allclose(points[1, row, column], expected, atol=3e-3)
    assert hit > 20


def test_rays_that_miss_the_box_are_finite() -> None:
    points = block_points(camera(), 2, 3, BOUNDS, aabb=torch.tensor([[50.0] * 3, [51.0] * 3]))
    assert points.isfinite().all()


def test_features_of_all_points_follow_their_waves() -> None:
    """A grid that holds its own lattice coordinates gives back positions, as interpolation is linear."""
    field = with_grid(grid_levels=1, base_resolution=5, finest_resolution=5)
    assert field.grid is not None
    rows = torch.arange(125)
    lattice = torch.stack([rows % 5, rows // 5 % 5, rows // 25], -1).float()
    table = torch.zeros(field.grid.tables[0].shape)
    table[:125] = lattice
    field.grid.tables[0].data = table
    unit = 0.87 * torch.rand(2, 3, 4, 9)  # beyond 0.875 the lattice begins again
    box = field.aabb
    encoded = field.encode((box[0].repeat(3) + unit * (box[1] - box[0]).repeat(3)))
    assert encoded.shape == (2, 3, 4, 9 * 5 + 9)
    assert torch.allclose(encoded[..., 45:], unit * 4 + 0.5, atol=1e-4)


def test_the_grid_is_trained_described_folded_and_merged() -> None:
    field = with_grid(tail_blocks=(1, 0)).train()
    field.draw(camera(), BOUNDS).sum().backward()
    assert field.grid is not None
    assert all(table.grad is not None and table.grad.abs().sum() > 0 for table in field.grid.tables)
    twin = build_field(describe_field(field), [LightField])
    assert {key: value.shape for key, value in twin.state_dict().items()} == {
        key: value.shape for key, value in field.state_dict().items()
    }
    with torch.no_grad():
        picture = field.eval().draw(camera(), BOUNDS)
        assert torch.allclose(field.folded().draw(camera(), BOUNDS), picture, atol=1e-4)
        assert torch.allclose(field.merged().draw(camera(), BOUNDS), picture, atol=1e-4)


def test_descriptions_from_before_there_were_grids_are_read() -> None:
    description = describe_field(shaken())
    for name in GRID:
        description.init_args.pop(name)
    twin = build_field(description, [LightField])
    assert isinstance(twin, LightField) and twin.grid is None and not twin.in_box


@pytest.mark.parametrize("changes", [{"grid_levels": -1}, {"grid_features": 0}, {"finest_resolution": 2}])
def test_impossible_grids_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises((ValueError, ContainerError)):
        with_grid(**changes)
