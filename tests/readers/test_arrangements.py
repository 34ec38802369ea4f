from typing import cast, get_args

import pytest
import torch

from nerfcomp.geometry.rays import image_rays
from nerfcomp.readers import ProceduralReader, Scene
from nerfcomp.readers.arrangements import Arrangement, arrange
from nerfcomp.readers.solids import trace


def views(arrangement: Arrangement, opaque: bool = False) -> Scene:
    reader = ProceduralReader(32, n_train=3, n_val=1, n_test=1, arrangement=arrangement, opaque=opaque)
    return reader.read("train")


def over_white(scene: Scene) -> torch.Tensor:
    rgba = scene.images.float() / 255
    return torch.lerp(torch.ones(3), rgba[..., :3], rgba[..., 3:])


@pytest.mark.parametrize("name", [name for name in get_args(Arrangement) if name != "dark_room"])
def test_everything_lies_in_the_cube_and_is_seen(name: Arrangement) -> None:
    reader = ProceduralReader(48, n_train=4, arrangement=name)
    assert reader.half_side == arrange(name, 0).half_side
    camera, seen = reader.camera("train"), set()
    for view in range(4):
        rays = image_rays(camera, view, 0.0, 20.0)
        hits = trace(reader.solids, rays)
        points = rays.origins + hits.depth.float()[:, None] * rays.directions
        assert points[hits.solid >= 0].abs().max() < 1
        seen |= set(hits.solid[hits.solid >= 0].tolist())
    assert seen == set(range(len(reader.solids)))
    assert all(abs(x) + ball.radius < 1 for ball in reader.glass for x in ball.center)


def test_the_stand_is_thin_and_dark() -> None:
    rgb, alpha = over_white(views("dark_stand")), views("dark_stand").images[..., 3]
    assert 0.02 < (alpha == 255).float().mean() < 0.15 < (alpha > 0).float().mean()  # most of it are edges
    assert rgb[alpha == 255].mean() < 0.3


def test_white_is_close_to_the_white_behind_it() -> None:
    scene = views("white_on_white")
    inside = over_white(scene)[scene.images[..., 3] == 255]
    assert inside.mean() > 0.8 and (inside > 0.93).all(-1).float().mean() > 0.05


def test_the_gem_is_small_in_its_box() -> None:
    scene = views("small_gem")
    assert 0.005 < (scene.images[..., 3] > 0).float().mean() < 0.06
    assert scene.aabb.tolist() == [[pytest.approx(-1.8)] * 3, [pytest.approx(1.8)] * 3]


def test_glass_lets_light_through() -> None:
    alpha = views("glass").images[..., 3]
    assert ((alpha > 60) & (alpha < 200)).float().mean() > 0.05


def test_opaque_images_show_the_same_over_white() -> None:
    scene, opaque = views("dark_stand"), views("dark_stand", opaque=True)
    assert scene.has_alpha and not opaque.has_alpha
    assert (opaque.images[..., 3] == 255).all()
    assert (opaque.images[..., :3].float() / 255 - over_white(scene)).abs().max() < 1.01 / 255


def test_every_ray_of_a_photograph_ends_in_the_room() -> None:
    scene = views("dark_room", opaque=True)
    assert not scene.has_alpha and float(scene.aabb.max()) == pytest.approx(3.7)
    assert bool((scene.camera.c2w[:, :, 3].abs() < 3.55).all())
    rgb = scene.images[..., :3].float() / 255
    dark = (rgb.mean(-1) < 0.25).float().mean()
    assert (
        0.01 < float(dark) < 0.5
        and float(rgb.amax(-1).min()) > 0.02
        and float((rgb.mean(-1) > 0.97).float().mean()) < 0.1
    )


def test_unknown_arrangements_are_refused() -> None:
    with pytest.raises(ValueError, match="arrangement is 'sonata'; there are still_life, dark_stand"):
        arrange(cast(Arrangement, "sonata"), 0)
