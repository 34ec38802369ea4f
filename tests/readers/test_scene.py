"""Geometry that readers share."""

import math

import pytest
import torch
from jsonargparse import ArgumentParser

from nerfcomp.geometry.cameras import make_camera
from nerfcomp.geometry.paths import spherical_path
from nerfcomp.geometry.rays import image_rays
from nerfcomp.readers import SceneReader
from nerfcomp.readers.scene import cube, march_bounds


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


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("BlenderReader", {"root": "lego", "downscale": 2, "half_side": 1.2}),
        ("LLFFReader", {"root": "fern", "downscale": 4, "ndc": False}),
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
