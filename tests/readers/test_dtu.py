"""Scenes in the layout of NeuS: small generated ones, damaged ones, and scan24 of DTU."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from nerfcomp.artifacts.scene_info import SceneInfo
from nerfcomp.errors import SceneError
from nerfcomp.geometry.cameras import project
from nerfcomp.geometry.paths import spherical_path
from nerfcomp.readers import DTUReader
from nerfcomp.readers.projections import decompose_projection
from tests.readers.builders import noise, write_images

Matrices = dict[str, NDArray[np.float64]]
_K = np.array([[9.0, 0, 3.25], [0, 8.5, 2.75], [0, 0, 1]])
_SCALE = np.diag([50.0, 50.0, 50.0, 1.0]) + np.array([[0, 0, 0, 3.0], [0, 0, 0, -4.0], [0, 0, 0, 600.0], [0, 0, 0, 0]])


def matrices(count: int) -> Matrices:
    """Projections as NeuS's scripts write them, from poses on a ring of radius 2.8 around the unit sphere."""
    found: Matrices = {}
    for view, c2w in enumerate(spherical_path(count, 2.8, 0.5).double().numpy()):
        w2c = np.linalg.inv(np.vstack([c2w[:, [0, 1, 2, 3]] * [1, -1, -1, 1], [0, 0, 0, 1]]))
        projection = np.eye(4)
        projection[:3] = 7.0 * _K @ w2c[:3]
        found[f"world_mat_{view}"] = projection @ np.linalg.inv(_SCALE)
        found[f"scale_mat_{view}"] = _SCALE
    return found


def write_dtu(root: Path, count: int = 9, folder: str = "image", found: Matrices | None = None) -> Path:
    write_images(root / folder, [f"{view:06d}.png" for view in range(count)], 6, 8, channels=3)
    (root / "mask").mkdir()
    for view in range(count):
        mask = np.zeros((6, 8, 3), np.uint8)
        mask[1:5, 2:6] = 255
        mask[0, 0] = 127  # antialiased border of something small
        Image.fromarray(mask).save(root / "mask" / f"{view:03d}.png")
    np.savez(root / "cameras_sphere.npz", allow_pickle=False, **(matrices(count) if found is None else found))
    return root


@pytest.mark.parametrize("folder", ["image", "images"])
def test_cameras_project_as_the_matrices_do(tmp_path: Path, folder: str) -> None:
    scene = DTUReader(write_dtu(tmp_path, folder=folder), test_every=0, val_hold=0).read("train")
    points = torch.tensor([[0.3, -0.2, 0.5], [-0.4, 0.6, 0.1]])
    for view, (world, scale) in enumerate((matrices(9)[f"world_mat_{view}"], _SCALE) for view in range(9)):
        homogeneous = (world @ scale)[:3] @ np.vstack([points.numpy().T, [1, 1]])
        seen = project(scene.camera, torch.tensor([view, view]), points)
        np.testing.assert_allclose(seen.x, homogeneous[0] / homogeneous[2], atol=1e-4)
        np.testing.assert_allclose(seen.y, homogeneous[1] / homogeneous[2], atol=1e-4)
        assert (seen.depth > 0).all()
    np.testing.assert_allclose(scene.camera.intrinsics[0], [9.0, 8.5, 3.75, 3.25], rtol=1e-5)
    assert scene.aabb.tolist() == [[-1.0] * 3, [1.0] * 3]


def test_masks_make_pixels_transparent_before_they_are_averaged(tmp_path: Path) -> None:
    scene = DTUReader(write_dtu(tmp_path), test_every=0, val_hold=0).read("train")
    assert scene.has_alpha and sorted(scene.images[..., 3].unique().tolist()) == [0, 255]
    assert scene.images[3, 1:5, 2:6, 3].min() == 255 and scene.images[3, 0, 0, 3] == 0
    assert torch.equal(scene.images[3, ..., :3], torch.from_numpy(noise(6, 8, 3, 3)))
    half = DTUReader(tmp_path, test_every=0, val_hold=0, downscale=2).read("train")
    assert half.images[0, 0, 1, 3] == 128 and half.images[0, 1, 1, 3] == 255
    assert torch.equal(half.images[0, 0, 1, :3], scene.images[0, 1, 2:4, :3].float().mean(0).add(0.5).byte())


def test_without_masks_everything_counts(tmp_path: Path) -> None:
    (write_dtu(tmp_path) / "mask" / "000.png").unlink()
    assert not DTUReader(tmp_path, masks=False).read("train").has_alpha


def test_surroundings_double_the_cube(tmp_path: Path) -> None:
    scene = DTUReader(write_dtu(tmp_path), masks=False, surroundings=3).read("train")
    assert scene.aabb.tolist() == [[-8.0] * 3, [8.0] * 3] and scene.cascades == 4
    assert scene.far > 2.8 + 8 and scene.near < 1
    with pytest.raises(ValueError, match="surroundings must lie between 0 and 7"):
        DTUReader(tmp_path, surroundings=8)


def test_every_eighth_view_is_held_out(tmp_path: Path) -> None:
    reader = DTUReader(write_dtu(tmp_path))
    assert reader.read("test").names == ("000000.png", "000008.png")
    assert len(reader.read("train").names) == 7


def test_lengths_leave_in_the_world_of_the_files(tmp_path: Path) -> None:
    scene = DTUReader(write_dtu(tmp_path)).read("train")
    assert scene.to_world is not None and np.array_equal(scene.to_world.numpy(), _SCALE)
    info = SceneInfo.from_json(SceneInfo.from_scene(scene).to_json())
    assert info.to_world is not None and np.array_equal(np.reshape(info.to_world, (4, 4)), _SCALE)


def test_paths_stay_at_the_distance_of_the_cameras(tmp_path: Path) -> None:
    reader = DTUReader(write_dtu(tmp_path))
    turn = reader.path("turntable", 5).c2w
    torch.testing.assert_close(turn[:, :, 3].norm(dim=1), torch.full((5,), 2.8))
    forward = -turn[:, :, 2]
    torch.testing.assert_close(forward, -turn[:, :, 3] / 2.8)
    assert len(reader.path("auto", 3).c2w) == 3


def _break(name: str, value: NDArray[np.float64]) -> Callable[[Path], None]:
    def breaking(root: Path) -> None:
        np.savez(root / "cameras_sphere.npz", allow_pickle=False, **(matrices(9) | {name: value}))

    return breaking


def _rename(folder: Path, view: int, other: int) -> Path:
    return (folder / f"{view:03d}.png").rename(folder / f"{other:03d}.png")


_SKEWED = matrices(9)["world_mat_2"].copy()
_SKEWED[0] += 0.05 * _SKEWED[1]
BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "no mask": (lambda root: (root / "mask" / "004.png").unlink(), "mask holds 8 files, but .* describes 9 views"),
    "no masks": (lambda root: (root / "mask").rename(root / "masks"), "no folder mask .*masks=False"),
    "shifted": (
        lambda root: [_rename(root / "mask", view, view + 1) for view in range(8, -1, -1)],
        "Masks are shifted: view 0 would have 000000.png with 001.png",
    ),
    "gap": (
        lambda root: (root / "image" / "000008.png").rename(root / "image" / "000011.png"),
        "Masks are shifted: view 8",
    ),
    "other size": (
        lambda root: Image.fromarray(noise(3, 3, 3)).save(root / "mask" / "003.png"),
        "003.png has 3x3 pixels where 8x6",
    ),
    "no cameras": (lambda root: (root / "cameras_sphere.npz").unlink(), "no file .*cameras_sphere.npz"),
    "no archive": (lambda root: (root / "cameras_sphere.npz").write_bytes(b"x"), "not a readable"),
    "singular": (_break("world_mat_1", np.zeros((4, 4))), "world_mat_1 .* cannot be inverted"),
    "skewed": (_break("world_mat_2", _SKEWED), "world_mat_2 .* skews pixels by 0.05"),
    "not finite": (_break("world_mat_3", np.full((4, 4), np.nan)), "world_mat_3 is no 4x4 matrix of finite"),
    "scales differ": (_break("scale_mat_4", 2 * _SCALE), "scale_mat_4 differs from scale_mat_0"),
    "flat scale": (_break("scale_mat_0", np.zeros((4, 4))), "scale_mat_0 is no scale above 0"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_wrong_is_said(tmp_path: Path, name: str) -> None:
    breaking, sentence = BROKEN[name]
    breaking(write_dtu(tmp_path))
    with pytest.raises(SceneError, match=sentence):
        DTUReader(tmp_path).read("train")


def test_lacking_matrices_are_named(tmp_path: Path) -> None:
    found = matrices(9)
    del found["scale_mat_5"]
    with pytest.raises(SceneError, match="no scale_mat_5"):
        DTUReader(write_dtu(tmp_path, found=found)).read("train")


def test_any_scale_and_sign_of_a_projection_is_the_same_camera() -> None:
    matrix = torch.from_numpy((matrices(3)["world_mat_1"] @ _SCALE)[:3])
    one, other = decompose_projection(matrix, 6, "one"), decompose_projection(-0.01 * matrix, 6, "other")
    torch.testing.assert_close(one, other)
    assert torch.linalg.det(one.c2w[:, :3]) > 0


@pytest.mark.slow
def test_scan24_is_read_as_it_is(shared_data: Path) -> None:
    """Sizes and distances as in the publication; points triangulated by others lie inside the masks' hull."""
    root = shared_data / "dtu" / "scan24"
    if not root.is_dir():
        pytest.skip(f"needs {root}")
    reader = DTUReader(root, downscale=4)
    scene = reader.read("test")
    assert len(scene.names) == 7 and scene.images.shape[1:] == (150, 200, 4)
    assert scene.to_world is not None and float(scene.to_world[0, 0]) == pytest.approx(231.0682, abs=1e-4)
    distance = scene.camera.c2w[:, :, 3].norm(dim=1)
    assert 2.7 < float(distance.min()) and float(distance.max()) < 3.0
    points = torch.from_numpy(np.load(root / "sift_points.npy")).float()
    points = points[points.norm(dim=1) < 0.5]
    hits = 0.0
    for view in range(len(scene.names)):
        seen = project(scene.camera, torch.full((len(points),), view), points)
        x, y = seen.x.round().long().clamp(0, 199), seen.y.round().long().clamp(0, 149)
        hits += float((scene.images[view, y, x, 3] > 127).float().mean()) / len(scene.names)
    assert hits > 0.97
