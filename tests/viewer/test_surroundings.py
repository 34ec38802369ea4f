"""What a page is told of a scene, against a scene whose figures are known."""

import math

import pytest
import torch

from nerfcomp.artifacts.scene_info import SceneInfo
from nerfcomp.geometry.paths import look_at, spherical_path
from nerfcomp.viewer.surroundings import surroundings
from tests.teacher import tiny_teacher


def scene(poses: torch.Tensor) -> SceneInfo:
    return tiny_teacher().scene._replace(poses=tuple(tuple(pose) for pose in poses.flatten(1).tolist()))


def test_views_around_a_point_turn_about_it_with_z_up() -> None:
    found = surroundings(scene(spherical_path(8, 3.0, target=(0.5, -0.25, 1.0))))
    assert found["center"] == pytest.approx([0.5, -0.25, 1.0], abs=1e-4)
    assert found["up"] == pytest.approx([0.0, 0.0, 1.0], abs=1e-6)
    assert len(found["poses"]) == 8 and len(found["poses"][0]) == 12


def test_the_field_of_view_is_that_of_the_focal_length() -> None:
    info = scene(spherical_path(4, 3.0))._replace(height=30, width=40, intrinsics=(20.0, 15.0, 20.0, 15.0))
    found = surroundings(info)
    assert found["fov"] == pytest.approx(90.0)  # 15 pixels beside a focal length of 15
    assert (found["height"], found["width"]) == (30, 40)


def test_one_view_turns_about_what_lies_before_it() -> None:
    pose = look_at(torch.tensor([0.0, -4.0, 0.0]), torch.zeros(3), torch.tensor([0.0, 0.0, 1.0]))[None]
    info = scene(pose)._replace(aabb=((-1.0, -1.0, -1.0), (1.0, 1.0, 1.0)))
    assert surroundings(info)["center"] == pytest.approx([0.0, -3.0, 0.0])  # half the box's width ahead


def test_cameras_that_lie_on_their_side_keep_their_own_up() -> None:
    x_up = look_at(torch.tensor([0.0, -4.0, 0.0]), torch.zeros(3), torch.tensor([1.0, 0.0, 0.0]))
    other = look_at(torch.tensor([0.0, 0.0, -4.0]), torch.zeros(3), torch.tensor([1.0, 0.0, 0.0]))
    up = surroundings(scene(torch.stack([x_up, other])))["up"]
    assert up == pytest.approx([1.0, 0.0, 0.0], abs=1e-6)
    assert math.hypot(*up) == pytest.approx(1.0)
