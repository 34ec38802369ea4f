import math
from typing import Any

import pytest
import torch

from nerfcomp.geometry.rays import image_rays
from nerfcomp.readers.arrangements import still_life
from nerfcomp.readers.procedural import ProceduralReader
from nerfcomp.readers.scene import Scene, Split
from nerfcomp.readers.solids import trace


def tiny(seed: int = 0, image_size: int = 24, supersampling: int = 2) -> ProceduralReader:
    return ProceduralReader(image_size, n_train=3, n_val=1, n_test=2, supersampling=supersampling, seed=seed)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return tiny().read("train")


def test_scene_is_complete(scene: Scene) -> None:
    assert scene.images.shape == (3, 24, 24, 4) and scene.images.dtype == torch.uint8
    assert scene.camera.c2w.shape == (3, 3, 4) and (scene.camera.height, scene.camera.width) == (24, 24)
    assert scene.aabb.tolist() == [[-1.0] * 3, [1.0] * 3]
    assert scene.has_alpha and not scene.ndc and scene.split == "train"
    assert scene.names == ("r_0.png", "r_1.png", "r_2.png")


def test_corners_are_empty_and_the_middle_is_not(scene: Scene) -> None:
    alpha = scene.images[..., 3]
    assert not alpha[:, [0, 0, -1, -1], [0, -1, 0, -1]].any()
    assert (alpha[:, 11:13, 11:13] == 255).all()
    assert 0.15 < (alpha > 0).float().mean() < 0.75
    assert not scene.images[alpha == 0].any()


def test_cameras_stand_on_the_upper_half_sphere_and_look_inwards(scene: Scene) -> None:
    centers, backward = scene.camera.c2w[:, :, 3], scene.camera.c2w[:, :, 2]
    assert torch.allclose(centers.norm(dim=-1), torch.tensor(3.2))
    assert (centers[:, 2] > 0).all()
    assert torch.allclose(backward, centers / 3.2, atol=1e-6)


def test_same_seed_same_images_and_other_seed_other_images(scene: Scene) -> None:
    again, other = tiny().read("train"), tiny(seed=1).read("train")
    assert torch.equal(again.images, scene.images) and torch.equal(again.camera.c2w, scene.camera.c2w)
    assert not torch.equal(other.camera.c2w, scene.camera.c2w)
    assert still_life(1) != still_life(0)


def test_splits_share_bounds_but_no_view(scene: Scene) -> None:
    splits: tuple[Split, ...] = ("val", "test")
    for split in splits:
        other = tiny().read(split)
        assert (other.near, other.far, other.split) == (scene.near, scene.far, split)
        assert torch.equal(other.aabb, scene.aabb)
        distances = torch.cdist(other.camera.c2w[:, :, 3], scene.camera.c2w[:, :, 3])
        assert distances.min() > 1e-2


def test_everything_lies_in_the_cube_and_between_the_bounds() -> None:
    reader = ProceduralReader(image_size=60, n_train=6)
    camera, scene = reader.camera("train"), tiny().read("train")
    for view in range(6):
        surface = reader.surface(camera, view)
        rays = image_rays(camera, view, scene.near, scene.far)
        depth, seen = surface.depth.reshape(-1, 1), surface.solid.reshape(-1) >= 0
        points = (rays.origins + depth * rays.directions)[seen]
        assert points.abs().max() < 1
        assert scene.near < depth[seen].min() and depth[seen].max() < scene.far


def test_views_agree_on_the_surface() -> None:
    """What one view sees lies on or behind the surface that another sees in the same direction, never before it."""
    reader = ProceduralReader(image_size=40, n_train=2)
    camera = reader.camera("train")
    first, second = reader.surface(camera, 0), camera.c2w[1, :, 3]
    rays = image_rays(camera, 0, 0.0, 10.0)
    seen = first.solid.reshape(-1) >= 0
    points = (rays.origins + first.depth.reshape(-1, 1) * rays.directions)[seen]
    distance = (points - second).norm(dim=-1, keepdim=True)
    back = rays._replace(origins=second.expand_as(points), directions=(points - second) / distance)
    back = back._replace(near=0 * distance, far=distance + 1)
    found = trace(reader.solids, back).depth.float()[:, None]
    assert (found <= distance + 1e-3).all()
    agree = (found - distance).abs() < 1e-3
    assert 0.2 < agree.float().mean() < 1  # the rest is hidden from the second camera


def test_surface_normals_face_the_camera() -> None:
    reader = tiny()
    camera = reader.camera("test")
    surface, rays = reader.surface(camera, 0), image_rays(camera, 0, 0.0, 10.0)
    seen = surface.solid >= 0
    facing = (surface.normals * rays.directions.reshape(24, 24, 3)).sum(-1)
    assert (facing[seen] < 0.01).all()
    assert torch.equal(torch.isfinite(surface.depth), seen)


def test_supersampling_averages_what_a_larger_image_shows() -> None:
    small, large = tiny().read("test"), tiny(image_size=48, supersampling=1).read("test")
    blocks = large.images.float().reshape(2, 24, 2, 24, 2, 4)
    assert set(large.images[..., 3].flatten().tolist()) == {0, 255}
    alpha = blocks[..., 3].mean((2, 4))
    assert torch.equal(small.images[..., 3], alpha.round().to(torch.uint8))
    covered = alpha > 0
    mean = (blocks[..., :3] * blocks[..., 3:]).sum((2, 4)) / blocks[..., 3:].sum((2, 4)).clamp_min(1)
    assert (mean - small.images[..., :3])[covered].abs().max() <= 1.01  # each rounds to 8 bits on its own


def test_video_paths_circle_the_scene() -> None:
    turntable, spiral = tiny().path("turntable", 8), tiny().path("spiral", 8)
    assert turntable.c2w.shape == spiral.c2w.shape == (8, 3, 4)
    assert torch.allclose(turntable.c2w[:, :, 3].norm(dim=-1), torch.tensor(3.2), atol=1e-4)
    assert turntable.c2w[:, 2, 3].std() < 1e-4 < spiral.c2w[:, 2, 3].std()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image_size": 0}, "image_size is 0"),
        ({"n_test": -1}, "n_test is -1"),
        ({"supersampling": 0}, "supersampling is 0"),
        ({"radius": 1.0}, "at least 1.8"),
        ({"radius": math.nan}, "at least 1.8"),
        ({"seed": -1}, "must not be negative"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ProceduralReader(**arguments)
