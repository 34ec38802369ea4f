"""Fields of nerf-pytorch are asked along nerf-pytorch's rays, whoever reads the scene; its formulas stand here."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from nerfcomp.artifacts.convention import as_trained, continued, ray_camera
from nerfcomp.artifacts.scene_info import SceneInfo
from nerfcomp.errors import SceneError
from nerfcomp.evaluation.views import ThinnedReader, thinned
from nerfcomp.geometry.cameras import make_camera, scaled
from nerfcomp.geometry.rays import image_rays
from nerfcomp.readers import BlenderReader, LLFFReader, Scene, SceneReader, TransformsReader
from tests.readers.builders import write_blender, write_llff, write_transforms

Array = NDArray[np.float64]


def get_rays(height: int, width: int, focal: float, c2w: Array) -> tuple[Array, Array]:
    """Origins and directions (H W, 3) of run_nerf_helpers.get_rays; directions are not normalised."""
    i, j = np.meshgrid(np.arange(width), np.arange(height), indexing="xy")
    local = np.stack([(i - 0.5 * width) / focal, -(j - 0.5 * height) / focal, -np.ones(i.shape)], -1)
    directions = (local[..., None, :] * c2w[:3, :3]).sum(-1).reshape(-1, 3)
    return np.broadcast_to(c2w[:3, 3], directions.shape), directions


def ndc_rays(height: int, width: int, focal: float, near: float, o: Array, d: Array) -> tuple[Array, Array]:
    """run_nerf_helpers.ndc_rays: origins, and directions that reach the end of a ray at t = 1."""
    o = o - ((near + o[:, 2]) / d[:, 2])[:, None] * d
    wide, high = -1 / (width / (2 * focal)), -1 / (height / (2 * focal))
    origin = [wide * o[:, 0] / o[:, 2], high * o[:, 1] / o[:, 2], 1 + 2 * near / o[:, 2]]
    x, y = d[:, 0] / d[:, 2] - o[:, 0] / o[:, 2], d[:, 1] / d[:, 2] - o[:, 1] / o[:, 2]
    return np.stack(origin, -1), np.stack([wide * x, high * y, -2 * near / o[:, 2]], -1)


def directions_of(scene: Scene, view: int = 1) -> torch.Tensor:
    return image_rays(scene.camera, view, scene.near, scene.far, scene.ndc).directions


def foreign(scene: Scene) -> SceneInfo:
    """What a field of nerf-pytorch knows of a scene that a default reader has read."""
    return SceneInfo.from_scene(scene).with_rays(pixel_centers=False)


@pytest.mark.parametrize("corner_reader", [False, True])
def test_rays_of_synthetic_scenes(corner_reader: bool, tmp_path: Path) -> None:
    root = write_blender(tmp_path, height=12, width=16)
    known = foreign(BlenderReader(root, downscale=2).read("train"))
    read = BlenderReader(root, downscale=2, pixel_centers=not corner_reader).read("test")
    scene = as_trained(read, known)
    assert scene.pixel_centers is False
    expected = get_rays(6, 8, 4.0, scene.camera.c2w[1].double().numpy())[1]
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(directions_of(scene), expected, atol=1e-6)
    assert torch.equal(directions_of(as_trained(scene, known)), directions_of(scene))


@pytest.mark.parametrize("corner_reader", [False, True])
def test_rays_of_forward_facing_scenes(corner_reader: bool, tmp_path: Path) -> None:
    root = write_llff(tmp_path)
    known = foreign(LLFFReader(root, factor=2).read("train"))
    scene = as_trained(LLFFReader(root, factor=2, pixel_centers=not corner_reader).read("train"), known)
    o, d = get_rays(6, 8, 7.0, scene.camera.c2w[1].double().numpy())
    rays = image_rays(scene.camera, 1, scene.near, scene.far, scene.ndc)
    np.testing.assert_allclose(rays.viewdirs, d / np.linalg.norm(d, axis=1, keepdims=True), atol=1e-6)
    origins, directions = ndc_rays(6, 8, 7.0, 1.0, o, d)
    np.testing.assert_allclose(rays.origins, origins, atol=1e-5)
    np.testing.assert_allclose(rays.directions * rays.far, directions, atol=1e-5)
    ends = torch.cat([rays.origins, rays.origins + rays.far * rays.directions])
    assert ((ends >= scene.aabb[0]) & (ends <= scene.aabb[1])).all()


def test_fields_of_ours_are_asked_through_centres(tmp_path: Path) -> None:
    write_blender(tmp_path)
    plain = BlenderReader(tmp_path).read("test")
    known = SceneInfo.from_scene(BlenderReader(tmp_path).read("train"))
    corner = BlenderReader(tmp_path, pixel_centers=False).read("test")
    assert not torch.equal(directions_of(corner), directions_of(plain))
    torch.testing.assert_close(directions_of(as_trained(corner, known)), directions_of(plain))
    assert directions_of(as_trained(plain, known)).equal(directions_of(plain))


def test_fewer_pixels_keep_their_rays(tmp_path: Path) -> None:
    scene = BlenderReader(write_blender(tmp_path)).read("test")
    known = foreign(scene)
    fewer = directions_of(as_trained(thinned(scene, 2), known))
    whole = directions_of(as_trained(scene, known)).view(6, 8, 3)
    torch.testing.assert_close(fewer.view(3, 4, 3), whole[1::2, 1::2], atol=1e-6, rtol=0)


READERS: dict[str, tuple[Any, Any, dict[str, int]]] = {
    "blender": (write_blender, BlenderReader, {}),
    "llff": (write_llff, LLFFReader, {"factor": 2}),
    "transforms": (write_transforms, TransformsReader, {}),
}


@pytest.mark.parametrize("kind", READERS)
def test_readers_send_paths_along_the_same_rays(kind: str, tmp_path: Path) -> None:
    write, reader, options = READERS[kind]
    write(tmp_path)
    plain, corner = (reader(tmp_path, pixel_centers=value, **options) for value in (True, False))
    wrapped: SceneReader = ThinnedReader(corner, 2)
    assert wrapped.pixel_centers is corner.pixel_centers is False
    a, b = (one.path("auto", 2).intrinsics for one in (plain, wrapped))
    torch.testing.assert_close(b - a, torch.tensor([[0.0, 0.0, 0.5, 0.5]]).expand(2, 4))


def test_half_a_pixel_of_training_is_less_at_other_sizes() -> None:
    camera = make_camera(torch.eye(3, 4), 12, 16, focal=14.0)
    scene = Scene(
        torch.zeros(1, 12, 16, 4), camera, 2, 6, torch.tensor([[-1.0] * 3, [1.0] * 3]), False, True, ("a",), "test"
    )
    small = ray_camera(scaled(camera, 0.25), foreign(scene))
    torch.testing.assert_close(small.intrinsics[0, 2:], torch.tensor([2.125, 1.625]))


def test_what_a_scene_knows_of_its_rays_survives_in_files(tmp_path: Path) -> None:
    known = SceneInfo.from_scene(BlenderReader(write_blender(tmp_path)).read("train"))
    assert "pixel_centers" not in known.to_json() and SceneInfo.from_json(known.to_json()) == known
    corners = known.with_rays(False)
    assert corners.to_json()["pixel_centers"] is False and SceneInfo.from_json(corners.to_json()) == corners
    assert corners.with_rays(True) == known
    with pytest.raises(ValueError, match="true or false"):
        SceneInfo.from_json({**known.to_json(), "pixel_centers": 1})


def test_cameras_of_another_frame_are_refused(tmp_path: Path) -> None:
    write_blender(tmp_path / "near")
    write_blender(tmp_path / "far", radius=40.0)
    near, far = (BlenderReader(tmp_path / name).read("train") for name in ("near", "far"))
    assert continued(near, SceneInfo.from_scene(near)).near == near.near
    with pytest.raises(SceneError, match="Only 0 of 5 cameras look into the box"):
        continued(far, SceneInfo.from_scene(near))
