"""Cameras against slow references, hand-computed poses and invariants."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nerfcomp.geometry.cameras import Camera, make_camera, pixel_directions, project, resized, scaled
from nerfcomp.geometry.paths import look_at, spherical_path, spiral_path

UP = torch.tensor([0.0, 0.0, 1.0])
coordinate = st.floats(-10, 10, width=32)
point = st.tuples(coordinate, coordinate, coordinate)


def assert_rigid(poses: Tensor) -> None:
    rotation = poses[..., :3].double()
    torch.testing.assert_close(rotation.mT @ rotation, torch.eye(3).double().expand_as(rotation), atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(rotation.shape[:-2]).double(), atol=1e-5, rtol=0)


def test_make_camera_fills_in_the_middle_and_square_pixels() -> None:
    camera = make_camera(torch.eye(3, 4, dtype=torch.float64).repeat(2, 1, 1), 4, 6, 7.0)
    assert camera.c2w.dtype == torch.float32
    assert camera.intrinsics.tolist() == [[7.0, 7.0, 3.0, 2.0]] * 2
    assert camera.distortion.tolist() == [[0.0] * 4] * 2


def test_make_camera_takes_what_it_is_given() -> None:
    camera = make_camera(torch.eye(3, 4), 4, 6, (7.0, 8.0), (1.0, 2.0), (0.1, 0.2, 0.3, 0.4))
    assert camera.intrinsics.tolist() == [[7.0, 8.0, 1.0, 2.0]]
    torch.testing.assert_close(camera.distortion, torch.tensor([[0.1, 0.2, 0.3, 0.4]]))


@pytest.mark.parametrize("factor", [0.5, 2.0, 1 / 3, 0.001])
def test_scaled_camera_sees_points_at_the_same_place_of_the_image(factor: float) -> None:
    camera = make_camera(torch.eye(3, 4), 101, 203, (150.0, 160.0), (90.0, 60.0), (0.1, 0.0, 0.01, 0.0))
    small = scaled(camera, factor)
    points = torch.randn(20, 3) - torch.tensor([0.0, 0.0, 5.0])
    view = torch.zeros(20, dtype=torch.long)
    before, after = project(camera, view, points), project(small, view, points)
    torch.testing.assert_close((before.x + 0.5) / camera.width, (after.x + 0.5) / small.width)
    torch.testing.assert_close((before.y + 0.5) / camera.height, (after.y + 0.5) / small.height)
    assert (small.height, small.width) == (max(1, round(101 * factor)), max(1, round(203 * factor)))


@pytest.mark.parametrize("factor", [0.0, -1.0, math.nan, math.inf])
def test_scaled_refuses_impossible_factors(factor: float) -> None:
    with pytest.raises(ValueError, match="finite and above 0"):
        scaled(make_camera(torch.eye(3, 4), 4, 6, 7.0), factor)


def test_project_agrees_with_a_slow_reference() -> None:
    poses = look_at(torch.randn(5, 3) * 4, torch.zeros(3), UP)
    camera = make_camera(poses, 40, 60, (50.0, 55.0), (28.0, 21.0))
    views, points = torch.arange(5), torch.randn(5, 3) * 0.3
    found = project(camera, views, points)
    for n in range(5):
        world_to_camera = torch.linalg.inv(torch.cat([poses[n], torch.tensor([[0.0, 0.0, 0.0, 1.0]])]).double())
        x, y, z = (world_to_camera[:3] @ torch.cat([points[n].double(), torch.ones(1)])).tolist()
        assert float(found.x[n]) == pytest.approx(28 + 50 * x / -z - 0.5, abs=1e-3)
        assert float(found.y[n]) == pytest.approx(21 - 55 * y / -z - 0.5, abs=1e-3)
        assert float(found.depth[n]) == pytest.approx(-z, abs=1e-4)


def test_points_behind_have_negative_depth() -> None:
    camera = make_camera(torch.eye(3, 4), 4, 6, 7.0)
    assert float(project(camera, torch.tensor([0]), torch.tensor([[0.0, 0.0, 2.0]])).depth) == -2


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(point, point, point)
def test_look_at_is_rigid_and_looks_there(
    origin: tuple[float, float, float], target: tuple[float, float, float], up: tuple[float, float, float]
) -> None:
    eye, aim, above = torch.tensor(origin), torch.tensor(target), torch.tensor(up)
    if (eye - aim).norm() < 1e-2 or above.norm() < 1e-2:
        return
    pose = look_at(eye, aim, above)
    assert_rigid(pose)
    torch.testing.assert_close(pose[:, 3], eye)
    torch.testing.assert_close(-pose[:, 2], (aim - eye) / (aim - eye).norm(), atol=1e-5, rtol=0)
    if torch.linalg.cross(above / above.norm(), pose[:, 2]).norm() > 1e-3:
        assert float(pose[:, 1] @ above) > 0
        assert abs(float(pose[:, 0] @ above / above.norm())) < 1e-4


def test_look_at_straight_down_is_still_a_pose() -> None:
    pose = look_at(torch.tensor([0.0, 0.0, 3.0]), torch.zeros(3), UP)
    assert_rigid(pose)
    assert pose[:, 2].tolist() == [0.0, 0.0, 1.0]


def test_turntable_is_a_circle_that_looks_at_its_target() -> None:
    poses = spherical_path(8, 2.0, math.pi / 6, target=(1.0, 2.0, 3.0))
    target = torch.tensor([1.0, 2.0, 3.0])
    assert_rigid(poses)
    offset = poses[:, :, 3] - target
    torch.testing.assert_close(offset.norm(dim=-1), torch.full((8,), 2.0))
    torch.testing.assert_close(offset[:, 2], torch.full((8,), 1.0))
    torch.testing.assert_close(poses[:, :, 2] * 2, offset)
    assert offset[0].tolist() == pytest.approx([math.sqrt(3), 0, 1])
    assert offset[2].tolist() == pytest.approx([0, math.sqrt(3), 1], abs=1e-6)
    steps = (offset.roll(-1, 0) - offset).norm(dim=-1)
    torch.testing.assert_close(steps, steps[:1].expand(8))  # the last frame is one step before the first


def test_climbing_path_reaches_both_elevations() -> None:
    offset = spherical_path(5, 1.0, (-0.2, 0.7), turns=2.0)[:, :, 3]
    assert torch.asin(offset[:, 2]).tolist() == pytest.approx([-0.2, 0.025, 0.25, 0.475, 0.7], abs=1e-5)


def test_spiral_swings_by_its_radii_and_keeps_the_focus_in_the_middle() -> None:
    pose = look_at(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([4.0, 5.0, 3.5]), UP)
    poses = spiral_path(pose, (0.3, 0.2, 0.1), 2.5, 16)
    assert_rigid(poses)
    local = (poses[:, :, 3] - pose[:, 3]) @ pose[:, :3]
    assert local[0].tolist() == pytest.approx([0.3, 0.0, 0.0], abs=1e-5)
    assert local[2].tolist() == pytest.approx([0.0, -0.2, -0.1 * math.sin(math.pi / 4)], abs=1e-5)
    camera = make_camera(poses, 40, 60, 50.0)
    focus = (pose[:, 3] - 2.5 * pose[:, 2]).expand(16, 3)
    seen = project(camera, torch.arange(16), focus)
    torch.testing.assert_close(seen.x, torch.full((16,), 29.5), atol=1e-3, rtol=0)
    torch.testing.assert_close(seen.y, torch.full((16,), 19.5), atol=1e-3, rtol=0)


def test_paths_refuse_what_is_no_path() -> None:
    with pytest.raises(ValueError, match="at least one frame"):
        spherical_path(0, 1.0)
    with pytest.raises(ValueError, match="radius above 0"):
        spherical_path(3, 0.0)
    with pytest.raises(ValueError, match="at least one frame"):
        spiral_path(torch.eye(3, 4), (1.0, 1.0, 1.0), 1.0, 0)


def test_another_size_keeps_the_vertical_field_of_view() -> None:
    camera = make_camera(torch.eye(3, 4), height=50, width=80, focal=40.0, center=(44.0, 25.0))
    wide = resized(camera, 400, 100)

    def direction(views: Camera, x: float, y: float) -> torch.Tensor:
        return pixel_directions(views.intrinsics, views.distortion, torch.tensor([x]), torch.tensor([y]))

    assert torch.allclose(direction(camera, 39.5, -0.5), direction(wide, 199.5, -0.5))
