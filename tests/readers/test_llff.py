"""LLFF captures: small generated ones, damaged ones, and fern."""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from nerfcomp.errors import SceneError
from nerfcomp.geometry.cameras import project, scaled
from nerfcomp.geometry.paths import look_at
from nerfcomp.geometry.rays import camera_rays, image_rays
from nerfcomp.readers import LLFFReader, Scene
from tests.readers.builders import forward_table, noise, write_images, write_llff

Table = NDArray[np.float64]


def inward_table(count: int = 12) -> Table:
    """Cameras on a ring of radius 5 around (1, 2, 3), z up, that see depths 4 to 7."""
    rows = []
    for angle in np.linspace(0, 2 * np.pi, count, endpoint=False):
        center = torch.tensor([1 + 4 * np.cos(angle), 2 + 4 * np.sin(angle), 6.0], dtype=torch.float32)
        pose = look_at(center, torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.0, 0.0, 1.0])).numpy()
        right, up, back, position = pose.T
        rows.append([*np.array([-up, right, back, position, [12.0, 16.0, 14.0]]).T.flatten(), 4.0, 7.0])
    return np.array(rows)


def assert_rays_stay_in_the_cube(scene: Scene, reader: LLFFReader) -> None:
    """Ends of all NDC segments of the views, and of a video, lie in the cube."""
    for camera in (scaled(scene.camera, 0.5), scaled(reader.path("auto", 7), 0.2)):
        for view in range(len(camera.c2w)):
            rays = image_rays(camera, view, scene.near, scene.far, ndc=True)
            assert (rays.far > 0).all()
            for distance in (rays.near, rays.far):
                end = rays.origins + distance * rays.directions
                assert ((end >= scene.aabb[0]) & (end <= scene.aabb[1])).all()


def test_poses_are_turned_scaled_and_centred(tmp_path: Path) -> None:
    scene = LLFFReader(write_llff(tmp_path), downscale=2, test_every=0, val_hold=0).read("train")
    assert scene.ndc and not scene.has_alpha and (scene.near, scene.far) == (0.0, 1.0)
    assert torch.equal(scene.images[4, ..., :3], torch.from_numpy(noise(6, 8, 3, 4)))
    assert scene.camera.intrinsics.tolist() == [[7.0, 7.0, 4.0, 3.0]] * 9
    table = torch.from_numpy(forward_table())[:, :15].view(-1, 3, 5)
    position = (table[:, :, 3] - table[:, :, 3].mean(0)) / (0.75 * 3.0)
    torch.testing.assert_close(scene.camera.c2w[:, :, 3], position.float())
    torch.testing.assert_close(scene.camera.c2w[:, :, :3], torch.eye(3).expand(9, 3, 3))


def test_ndc_cube_holds_all_rays_tightly(tmp_path: Path) -> None:
    reader = LLFFReader(write_llff(tmp_path), downscale=2)
    scene = reader.read("train")
    assert_rays_stay_in_the_cube(scene, reader)
    side = scene.aabb[1] - scene.aabb[0]
    assert (side == side[0]).all() and torch.equal(scene.aabb[0], -scene.aabb[1])
    assert 1.0 < float(scene.aabb[1, 0]) < 1.6


def test_every_hold_th_view_is_held_out(tmp_path: Path) -> None:
    reader = LLFFReader(write_llff(tmp_path), downscale=2, test_every=4)
    assert reader.read("test").names == ("image000.png", "image004.png", "image008.png")
    assert len(reader.read("train").images) == 6


def test_one_training_view_in_eight_validates(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    reader = LLFFReader(write_llff(tmp_path), downscale=2, test_every=8 + 1)
    with caplog.at_level(logging.INFO):
        train = reader.read("train").names
    assert reader.read("val").names == ("image001.png",) and "image001.png" not in train
    assert len(train) == 7 and "1 of 8 training views are held back" in caplog.text


def test_val_hold_takes_training_views(tmp_path: Path) -> None:
    reader = LLFFReader(write_llff(tmp_path), downscale=2, test_every=4, val_hold=3)
    assert reader.read("val").names == ("image001.png", "image005.png")
    assert reader.read("train").names == ("image002.png", "image003.png", "image006.png", "image007.png")


def test_without_hold_there_is_no_test(tmp_path: Path) -> None:
    reader = LLFFReader(write_llff(tmp_path), downscale=2, test_every=0)
    with pytest.raises(SceneError, match="no views for split 'test'. test_every=0"):
        reader.read("test")


def test_full_images_are_averaged_where_the_folder_is_missing(tmp_path: Path) -> None:
    write_llff(tmp_path, scaled=False)
    averaged = LLFFReader(tmp_path, downscale=2).read("train")
    assert averaged.images.shape == (7, 6, 8, 4)
    assert averaged.camera.intrinsics.tolist()[0] == [7.0, 7.0, 4.0, 3.0]
    full = LLFFReader(tmp_path, downscale=1).read("train")
    assert full.images.shape == (7, 12, 16, 4)
    assert full.camera.intrinsics.tolist()[0] == [14.0, 14.0, 8.0, 6.0]


def test_image_sizes_that_do_not_divide_keep_the_field_of_view(tmp_path: Path) -> None:
    scene = LLFFReader(write_llff(tmp_path, forward_table(height=13.0, width=17.0)), downscale=2).read("train")
    assert scene.camera.intrinsics.tolist()[0] == pytest.approx([14 * 8 / 17, 14 * 6 / 13, 4, 3])


def test_spherified_capture_is_upright_and_inside_its_cascades(tmp_path: Path) -> None:
    reader = LLFFReader(write_llff(tmp_path, inward_table()), downscale=2, ndc=False, val_hold=0)
    scene = reader.read("train")
    assert not scene.ndc
    positions = scene.camera.c2w[:, :, 3]
    torch.testing.assert_close(positions.norm(dim=-1), torch.full((10,), 4.0), atol=1e-4, rtol=0)
    torch.testing.assert_close(positions[:, 2], torch.full((10,), 2.4), atol=1e-4, rtol=0)
    assert scene.near == pytest.approx(0.9 * 4 * 4 / 5, abs=1e-3)
    assert scene.cascades == 4 and scene.aabb[1].tolist() == [12.0] * 3  # 4 + 7 * 4 / 5 lies between 6 and 12
    seen = project(reader.path("auto", 6), torch.arange(6), torch.zeros(6, 3))
    assert seen.depth.tolist() == pytest.approx([4.0] * 6, abs=1e-3)
    assert seen.x.tolist() == pytest.approx([3.5] * 6, abs=1e-3)


def test_forward_facing_scenes_have_no_turntable(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="forward-facing: it has no turntable. Choose 'spiral'"):
        LLFFReader(write_llff(tmp_path), downscale=2).path("turntable", 3)


def test_inward_capture_is_not_forward_facing(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match="not forward-facing.* Pass ndc=False"):
        LLFFReader(write_llff(tmp_path, inward_table()), downscale=2).read("train")


def changed(row: int, column: int, value: float) -> Callable[[Table], Table]:
    def change(table: Table) -> Table:
        table[row, column] = value
        return table

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table[:, :16], r"shape \(9, 16\)"),
        (lambda table: table[0], r"shape \(17,\)"),
        (lambda table: table[:0], "shape|readable"),
        (lambda table: table.astype(np.int64), "no .npy file of floats"),
        (lambda table: table.astype(str), "no .npy file of floats"),
        (lambda table: table.astype(object), "not a readable"),
        (changed(2, 3, np.nan), "NaN"),
        (changed(2, 1, 3.0), r"row 2: the pose is not rigid"),
        (changed(2, 15, 0.0), "0 < near < far"),
        (changed(2, 16, 2.0), "0 < near < far"),
        (changed(2, 14, -1.0), "above 0"),
    ],
)
def test_damaged_tables_are_refused(tmp_path: Path, change: Callable[[Table], Table], message: str) -> None:
    write_llff(tmp_path)
    np.save(tmp_path / "poses_bounds.npy", change(forward_table()))
    with pytest.raises(SceneError, match=f"poses_bounds.npy.*({message})"):
        LLFFReader(tmp_path, downscale=2).read("train")


@pytest.mark.parametrize("content", [b"", b"text", b"\x93NUMPY\x01\x00", b"PK\x03\x04zip"])
def test_files_that_are_no_arrays_are_refused(tmp_path: Path, content: bytes) -> None:
    (write_llff(tmp_path) / "poses_bounds.npy").write_bytes(content)
    with pytest.raises(SceneError, match="poses_bounds.npy is not a readable .npy file"):
        LLFFReader(tmp_path, downscale=2).read("train")


def test_archive_under_the_name_of_an_array_is_refused(tmp_path: Path) -> None:
    write_llff(tmp_path)
    with (tmp_path / "poses_bounds.npy").open("wb") as file:
        np.savez(file, forward_table())
    with pytest.raises(SceneError, match="poses_bounds.npy is no .npy file of floats"):
        LLFFReader(tmp_path, downscale=2).read("train")


@pytest.mark.parametrize("shape", [b"(9999999999999, 17)", b"(9, 18)", b"(9, 17", b"(-9, 17)", b"(9.5, 17)"])
def test_lying_shape_is_refused(tmp_path: Path, shape: bytes) -> None:
    path = write_llff(tmp_path) / "poses_bounds.npy"
    content = path.read_bytes()
    assert b"(9, 17)" in content
    room = b" " * (len(shape) - len(b"(9, 17)"))
    lie = content.replace(b"(9, 17), }" + room, shape + b", }")
    assert lie != content
    path.write_bytes(lie)
    with pytest.raises(SceneError, match="poses_bounds.npy"):
        LLFFReader(tmp_path, downscale=2).read("train")


def test_missing_things_are_named(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match="no file .*poses_bounds.npy"):
        LLFFReader(tmp_path).read("train")
    write_llff(tmp_path)
    with pytest.raises(SceneError, match="no folder .*images"):
        LLFFReader(tmp_path, downscale=4).read("train")
    (tmp_path / "images_2" / "image003.png").unlink()
    with pytest.raises(SceneError, match="holds 8 images, but .*poses_bounds.npy describes 9 views"):
        LLFFReader(tmp_path, downscale=2).read("train")


def test_images_of_the_wrong_scale_are_refused(tmp_path: Path) -> None:
    write_llff(tmp_path, forward_table(height=24.0, width=32.0))
    with pytest.raises(SceneError, match=r"image000\.png has 8x6 pixels, but .* 32x24, scaled down by 2"):
        LLFFReader(tmp_path, downscale=2).read("train")
    write_llff(tmp_path)
    write_images(tmp_path / "images_2", ["image005.png"], 8, 6)
    with pytest.raises(SceneError, match=r"image005\.png has 6x8 pixels"):
        LLFFReader(tmp_path, downscale=2).read("train")


def test_ndc_needs_one_focal_length(tmp_path: Path) -> None:
    table = forward_table()
    table[3, 14] = 15.0
    write_llff(tmp_path, table)
    with pytest.raises(SceneError, match="NDC needs one focal length"):
        LLFFReader(tmp_path, downscale=2).read("train")
    scene = LLFFReader(tmp_path, downscale=2, ndc=False, test_every=0, val_hold=0).read("train")
    assert scene.camera.intrinsics[:, 0].tolist() == [7.0] * 3 + [7.5] + [7.0] * 5


@pytest.fixture(scope="module")
def fern(shared_data: Path) -> LLFFReader:
    root = shared_data / "llff" / "fern"
    if not root.is_dir():
        pytest.skip(f"needs fern at {root}")
    return LLFFReader(root)


def test_fern_splits_and_cube(fern: LLFFReader) -> None:
    scene = fern.read("train")
    assert scene.images.shape == (15, 378, 504, 4)
    assert len(fern.read("val").images) == 2 and len(fern.read("test").images) == 3
    assert_rays_stay_in_the_cube(scene, fern)
    assert float(scene.aabb[1, 0]) < 2


def test_fern_views_agree_at_middle_depths(fern: LLFFReader) -> None:
    """Colours of NDC points, seen from other views, fit best where the fern stands, not at the planes near and far."""
    scene = fern.read("train")
    camera, images = scene.camera, scene.images[..., :3].float() / 255
    half_width, half_height = camera.width / (2 * camera.intrinsics[0, 0]), camera.height / (
        2 * camera.intrinsics[0, 1]
    )
    x, y = torch.randint(100, 404, (4000,)), torch.randint(75, 303, (4000,))
    rays = camera_rays(camera, torch.full((4000,), 8), x, y, 0.0, 1.0, ndc=True)
    errors = []
    fractions = torch.linspace(0, 0.95, 20)
    for fraction in fractions:
        ndc = rays.origins + fraction * rays.far * rays.directions
        z = 2 / (ndc[:, 2] - 1)
        world = torch.stack([-ndc[:, 0] * half_width * z, -ndc[:, 1] * half_height * z, z], -1)
        per_view = []
        for view in (7, 9):
            seen = project(camera, torch.full((4000,), view), world)
            column, row = seen.x.round().long().clamp(0, 503), seen.y.round().long().clamp(0, 377)
            per_view.append((images[view, row, column] - images[8, y, x]).abs().mean())
        errors.append(torch.stack(per_view).mean())
    error = torch.stack(errors)
    assert 0.35 < float(fractions[error.argmin()]) < 0.8
    assert error.min() < 0.75 * error[0] and error.min() < 0.75 * error[-1]


def test_former_names_of_arguments_are_still_taken(tmp_path: Path) -> None:
    root = write_llff(tmp_path)
    former, now = LLFFReader(root, factor=2, hold=4), LLFFReader(root, downscale=2, test_every=4)
    assert former.read("test").names == now.read("test").names
    assert former.read("test").camera.width == now.read("test").camera.width
