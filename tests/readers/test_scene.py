"""Geometry that readers share."""

import math

import pytest
import torch
from jsonargparse import ArgumentParser

from nerfcomp.geometry.cameras import make_camera
from nerfcomp.geometry.paths import look_at, spherical_path
from nerfcomp.geometry.rays import image_rays
from nerfcomp.readers import SceneReader
from nerfcomp.readers.scene import along, cube, march_bounds, orbit


def test_cube() -> None:
    assert cube((1.0, 2.0, 3.0), 0.5).tolist() == [[0.5, 1.5, 2.5], [1.5, 2.5, 3.5]]


@pytest.mark.parametrize("half_side", [0.0, -1.0, math.nan, math.inf])
def test_cube_refuses_impossible_sides(half_side: float) -> None:
    with pytest.raises(ValueError, match="half side"):
        cube((0.0, 0.0, 0.0), half_side)


@pytest.mark.parametrize("distance", [0.5, 3.0, 10.0])
def test_every_ray_meets_the_cube_between_near_and_far(distance: float) -> None:
    aabb = cube((1.0, 0.0, -1.0), 1.0)
    poses = spherical_path(5, distance, 0.3, target=(1.0, 0.0, -1.0))
    camera = make_camera(poses, 20, 20, 12.0)
    near, far = march_bounds(camera, aabb)
    assert 0 < near < far
    rays = image_rays(camera, 3, near, far)
    t = torch.linspace(0.1, 20, 800)
    points = rays.origins[:, None] + t[:, None] * rays.directions[:, None]
    inside = ((points > aabb[0]) & (points < aabb[1])).all(-1)
    assert inside.any()
    assert not (inside & ((t < near) | (t > far))).any()


def test_orbit_imitates_distance_and_elevation() -> None:
    views = spherical_path(9, 3.0, (0.2, 0.6), target=(1.0, 1.0, 0.0))
    camera = make_camera(views, 6, 8, 10.0)
    center = torch.tensor([1.0, 1.0, 0.0])
    turntable = orbit(camera, center, "turntable", 6)[:, :, 3] - center
    assert turntable.norm(dim=-1).tolist() == pytest.approx([3.0] * 6, abs=1e-5)
    assert torch.asin(turntable[:, 2] / 3).tolist() == pytest.approx([0.4] * 6, abs=1e-5)
    spiral = orbit(camera, center, "spiral", 6)[:, :, 3] - center
    assert torch.asin(spiral[:, 2] / 3)[[0, -1]].tolist() == pytest.approx([0.24, 0.56], abs=1e-5)


def test_path_has_no_lens_distortion() -> None:
    camera = make_camera(torch.eye(3, 4).repeat(2, 1, 1), 6, 8, (10.0, 11.0), (3.0, 4.0), (0.1, 0.0, 0.0, 0.0))
    poses = look_at(torch.randn(5, 3), torch.zeros(3), torch.eye(3)[2])
    moved = along(camera, poses)
    assert torch.equal(moved.c2w, poses)
    assert not moved.distortion.any()
    assert moved.intrinsics.tolist() == [[10.0, 11.0, 3.0, 4.0]] * 5
    assert (moved.height, moved.width) == (6, 8)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("BlenderReader", {"root": "lego", "downscale": 2, "half_side": 1.2}),
        ("LLFFReader", {"root": "fern", "factor": 4, "ndc": False}),
        ("TransformsReader", {"root": "garden/transforms.json", "recenter": True, "aabb_scale": 8}),
    ],
)
def test_readers_are_built_from_configs(name: str, options: dict[str, object]) -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(SceneReader, "reader")
    config = parser.parse_object({"reader": {"class_path": f"nerfcomp.readers.{name}", "init_args": options}})
    assert config.reader.init_args.root == options["root"]  # a plain string, so that checkpoints load
    reader = parser.instantiate_classes(config).reader
    assert type(reader).__name__ == name
    assert {key: getattr(reader, key) for key in options if key != "root"} == {
        k: options[k] for k in options if k != "root"
    }
