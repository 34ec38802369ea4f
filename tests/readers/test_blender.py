"""Blender scenes: small generated ones, damaged ones, and lego."""

import logging
import math
from pathlib import Path

import pytest
import torch

from nerfcomp.errors import SceneError
from nerfcomp.geometry.cameras import project
from nerfcomp.geometry.rays import image_rays
from nerfcomp.readers import BlenderReader
from tests.readers.builders import edit_frame, edit_json, noise, orbit_frames, write_blender, write_images


def test_scene_of_any_size_and_radius(tmp_path: Path) -> None:
    scene = BlenderReader(write_blender(tmp_path, radius=8.0622577)).read("train")
    assert scene.images.shape == (5, 6, 8, 4) and scene.images.dtype == torch.uint8
    assert torch.equal(scene.images[3], torch.from_numpy(noise(6, 8, 4, 3)))
    assert scene.names == ("r_0.png", "r_1.png", "r_2.png", "r_3.png", "r_4.png")
    assert scene.has_alpha and not scene.ndc and scene.split == "train" and scene.cascades == 1
    torch.testing.assert_close(scene.aabb, torch.tensor([[-3.0] * 3, [3.0] * 3]))
    assert scene.camera.intrinsics.tolist()[0] == pytest.approx([4, 4, 4, 3])
    expected = torch.tensor([frame["transform_matrix"] for frame in orbit_frames(5, 8.0622577)])[:, :3]
    torch.testing.assert_close(scene.camera.c2w, expected, atol=1e-5, rtol=0)
    assert scene.near == pytest.approx(8.0622577 - 3 * math.sqrt(3), abs=1e-4)
    assert scene.far == pytest.approx(8.0622577 + 3 * math.sqrt(3), abs=1e-4)


def test_downscale_halves_images_and_intrinsics_and_drops_odd_rows(tmp_path: Path) -> None:
    write_blender(tmp_path, height=7, width=9)
    scene, full = BlenderReader(tmp_path, downscale=2).read("train"), BlenderReader(tmp_path).read("train")
    assert scene.images.shape == (5, 3, 4, 4)
    assert (scene.camera.height, scene.camera.width) == (3, 4)
    torch.testing.assert_close(scene.camera.intrinsics, full.camera.intrinsics / 2)
    corner = image_rays(scene.camera, 0, 0.0, 1.0).directions[0]
    middle = sum(image_rays(full.camera, 0, 0.0, 1.0).directions[pixel] for pixel in (0, 1, 9, 10))
    assert isinstance(middle, torch.Tensor)
    torch.testing.assert_close(corner, middle / middle.norm(), atol=1e-2, rtol=0)


def test_box_and_bounds_are_the_same_in_every_split(tmp_path: Path) -> None:
    reader = BlenderReader(write_blender(tmp_path, val=2))
    scenes = [reader.read(split) for split in ("train", "val", "test")]
    for scene in scenes[1:]:
        assert torch.equal(scene.aabb, scenes[0].aabb)
        assert (scene.near, scene.far) == (scenes[0].near, scenes[0].far)


def test_half_side_overrides_the_cube(tmp_path: Path) -> None:
    scene = BlenderReader(write_blender(tmp_path), half_side=0.25).read("train")
    assert scene.aabb.tolist() == [[-0.25] * 3, [0.25] * 3]


def test_own_validation_views(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    reader = BlenderReader(write_blender(tmp_path, val=3))
    assert len(reader.read("val").images) == 3
    assert not caplog.records


@pytest.mark.parametrize(("train", "held"), [(7, 0), (8, 1), (17, 2), (100, 8)])
def test_some_training_views_validate_and_the_log_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, train: int, held: int
) -> None:
    reader = BlenderReader(write_blender(tmp_path, height=2, width=2, train=train))
    with caplog.at_level(logging.INFO):
        learned = reader.read("train").names
    assert len(learned) == train - held and reader.has("val") == (held > 0)
    said = (
        f"{held} of {train} training views are held back" if held else f"no view validates; training sees all {train}"
    )
    assert said in caplog.text
    if held:
        validated = reader.read("val").names
        assert len(validated) == held and not set(validated) & set(learned)


def test_nothing_is_held_back_on_demand(tmp_path: Path) -> None:
    reader = BlenderReader(write_blender(tmp_path, train=20), val_hold=0)
    assert len(reader.read("train").images) == 20 and not reader.has("val")
    with pytest.raises(SceneError, match="no views for split 'val'. Add transforms_val.json, or pass val_hold"):
        reader.read("val")
    assert BlenderReader(write_blender(tmp_path, val=3), val_hold=0).has("val")


def test_val_hold_takes_training_views(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    reader = BlenderReader(write_blender(tmp_path), val_hold=3)
    assert reader.read("val").names == ("r_0.png", "r_3.png")
    assert reader.read("train").names == ("r_1.png", "r_2.png", "r_4.png")
    assert len(reader.read("test").images) == 4
    assert not caplog.records


def test_test_every_thins_test_and_validation_views_only(tmp_path: Path) -> None:
    reader = BlenderReader(write_blender(tmp_path, val=4, test=4), test_every=3)
    assert reader.read("test").names == ("r_0.png", "r_3.png")
    assert len(reader.read("val").images) == 2
    assert len(reader.read("train").images) == 5


def test_train_needs_neither_validation_nor_test(tmp_path: Path) -> None:
    reader = BlenderReader(write_blender(tmp_path, test=0))
    assert len(reader.read("train").images) == 5
    for split in ("val", "test"):
        with pytest.raises(SceneError, match=f"{tmp_path} has no views for split '{split}'"):
            reader.read(split)


def test_empty_training_file_is_refused(tmp_path: Path) -> None:
    edit_json(write_blender(tmp_path) / "transforms_train.json", frames=[])
    with pytest.raises(SceneError, match="transforms_train.json lists no frames"):
        BlenderReader(tmp_path).read("train")


def test_missing_image_is_refused_not_skipped(tmp_path: Path) -> None:
    (write_blender(tmp_path) / "train" / "r_3.png").unlink()
    with pytest.raises(SceneError, match=r"train/r_3"):
        BlenderReader(tmp_path).read("train")
    assert len(BlenderReader(tmp_path).read("test").images) == 4


def test_image_of_another_size_is_refused(tmp_path: Path) -> None:
    write_images(write_blender(tmp_path) / "train", ["r_2.png"], 8, 6)
    with pytest.raises(SceneError, match=r"r_2\.png has 6x8 pixels where 8x6 are expected"):
        BlenderReader(tmp_path).read("train")


def test_unusable_pose_names_file_and_frame(tmp_path: Path) -> None:
    edit_frame(write_blender(tmp_path) / "transforms_train.json", 1, transform_matrix=[[math.nan] * 4] * 4)
    with pytest.raises(SceneError, match=r"transforms_train.json, frame ./train/r_1: .*NaN"):
        BlenderReader(tmp_path).read("train")


def test_cameras_at_the_origin_need_a_half_side(tmp_path: Path) -> None:
    write_blender(tmp_path)
    for view in range(5):
        edit_frame(tmp_path / "transforms_train.json", view, transform_matrix=torch.eye(4).tolist())
    with pytest.raises(SceneError, match="transforms_train.json: the cameras stand at the origin"):
        BlenderReader(tmp_path).read("train")
    assert len(BlenderReader(tmp_path, half_side=1.0).read("train").images) == 5


def test_no_scene_there(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match="no file .*transforms_train.json"):
        BlenderReader(tmp_path).read("train")


@pytest.mark.parametrize("option", ["downscale", "test_every", "val_hold", "half_side"])
def test_impossible_options(tmp_path: Path, option: str) -> None:
    write_blender(tmp_path)
    with pytest.raises(ValueError, match=option.replace("_", "[_ ]")):
        BlenderReader(tmp_path, **{option: -1}).read("train")  # type: ignore[arg-type]


def test_unknown_split(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no split 'exam'; choose one of train, val, test"):
        BlenderReader(write_blender(tmp_path)).read("exam")  # type: ignore[arg-type]


def test_paths_look_at_the_middle_without_decoding_images(tmp_path: Path) -> None:
    reader = BlenderReader(write_blender(tmp_path, radius=3.0), downscale=2)
    (tmp_path / "train" / "r_4.png").write_bytes(b"")
    for kind in ("auto", "turntable", "spiral"):
        camera = reader.path(kind, 5)
        assert camera.c2w.shape == (5, 3, 4) and (camera.height, camera.width) == (3, 4)
        seen = project(camera, torch.arange(5), torch.zeros(5, 3))
        assert seen.x.tolist() == pytest.approx([1.5] * 5, abs=1e-4)
        assert seen.y.tolist() == pytest.approx([1.0] * 5, abs=1e-4)
        assert seen.depth.tolist() == pytest.approx([3.0] * 5, abs=1e-4)


@pytest.mark.slow
def test_lego_silhouettes_agree_across_views(shared_data: Path) -> None:
    """Points inside the silhouettes of 20 views lie inside those of the other 5, but not if y is mirrored."""
    root = shared_data / "blender" / "lego"
    if not root.is_dir():
        pytest.skip(f"needs lego at {root}")
    scene = BlenderReader(root, downscale=4).read("test")
    assert scene.images.shape == (25, 200, 200, 4)
    torch.testing.assert_close(scene.aabb, torch.tensor([[-1.5] * 3, [1.5] * 3]))
    axis = torch.linspace(-1.5, 1.5, 40)
    points = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).view(-1, 3)

    def covered(view: int, mirror: float = 1.0) -> torch.Tensor:
        seen = project(scene.camera, torch.full((len(points),), view), points * torch.tensor([1.0, mirror, 1.0]))
        x, y = seen.x.round().long().clamp(0, 199), seen.y.round().long().clamp(0, 199)
        return scene.images[view, y, x, 3] > 0

    hull = torch.stack([covered(view) for view in range(25) if view % 5]).all(0)
    assert 500 < hull.sum() < 8000
    rest = torch.stack([covered(view)[hull] for view in range(0, 25, 5)]).float().mean()
    mirrored = torch.stack([covered(view, -1.0)[hull] for view in range(0, 25, 5)]).float().mean()
    assert rest > 0.95 > 0.9 > mirrored
