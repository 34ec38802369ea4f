"""Captures with one transforms.json, as instant-ngp and nerfstudio write them."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nerfcomp.errors import SceneError
from nerfcomp.geometry.cameras import project
from nerfcomp.readers import Split, TransformsReader
from tests.readers.builders import edit_frame, edit_json, matrix, noise, orbit_frames, write_blender, write_transforms


def names(reader: TransformsReader, split: Split) -> tuple[str, ...]:
    return reader.read(split).names


def test_capture_is_centred_and_scaled(tmp_path: Path) -> None:
    write_transforms(tmp_path, k1=-0.01)
    for view, frame in enumerate(orbit_frames(10, radius=20.0)):
        pose = torch.tensor(frame["transform_matrix"])[:3]
        pose[:, 3] += torch.tensor([100.0, 200.0, 300.0])
        edit_frame(tmp_path / "transforms.json", view, transform_matrix=matrix(pose))
    scene = TransformsReader(tmp_path, test_fraction=0, val_hold=0).read("train")
    assert torch.equal(scene.images[7, ..., :3], torch.from_numpy(noise(6, 8, 3, 7)))
    torch.testing.assert_close(scene.camera.c2w[:, :, 3].norm(dim=-1), torch.full((10,), 4.0), atol=1e-4, rtol=0)
    assert (scene.camera.c2w[:, 2, 3] > 1).all()
    assert scene.aabb.tolist() == [[-24.0] * 3, [24.0] * 3] and scene.cascades == 5
    assert scene.near == pytest.approx(0.4) and scene.far > 40
    torch.testing.assert_close(scene.camera.distortion[0], torch.tensor([-0.01, 0, 0, 0]))
    assert not scene.ndc and not scene.has_alpha


def test_instant_ngp_files_keep_their_frame(tmp_path: Path) -> None:
    scene = TransformsReader(write_transforms(tmp_path, aabb_scale=4), test_fraction=0, val_hold=0).read("train")
    expected = torch.tensor([frame["transform_matrix"] for frame in orbit_frames(10)])[:, :3]
    torch.testing.assert_close(scene.camera.c2w, expected, atol=1e-5, rtol=0)
    assert scene.aabb[1].tolist() == pytest.approx([2 / 0.33] * 3, rel=1e-6)
    assert scene.aabb[0].tolist() == pytest.approx([-2 / 0.33] * 3, rel=1e-6)
    assert scene.cascades == 3


def test_instant_ngp_scale_and_offset_move_the_cube(tmp_path: Path) -> None:
    write_transforms(tmp_path, aabb_scale=1, scale=0.5, offset=[0.0, 0.5, 1.0])
    scene = TransformsReader(tmp_path).read("train")
    torch.testing.assert_close(scene.aabb, torch.tensor([[0.0, -1.0, -2.0], [2.0, 1.0, 0.0]]))
    assert scene.cascades == 1


@pytest.mark.parametrize(
    ("options", "half_side", "cascades"),
    [
        ({"aabb_scale": 2.0}, 1 / 0.33, 2),
        ({"recenter": True}, 6.0, 3),
        ({"recenter": True, "aabb_scale": 1.0}, 1.5, 1),
        ({"aabb_scale": 0.5}, 0.25 / 0.33, 1),
    ],
)
def test_arguments_override_the_file(tmp_path: Path, options: dict[str, Any], half_side: float, cascades: int) -> None:
    scene = TransformsReader(write_transforms(tmp_path, aabb_scale=4), **options).read("train")
    assert scene.aabb[1].tolist() == pytest.approx([half_side] * 3, rel=1e-5)
    assert scene.cascades == cascades


def test_own_frame_without_any_statement_has_a_proportional_cube(tmp_path: Path) -> None:
    scene = TransformsReader(write_transforms(tmp_path), recenter=False, aabb_scale=1.0).read("train")
    assert scene.aabb[1].tolist() == pytest.approx([1.5] * 3, rel=1e-4)


def test_seeded_split(tmp_path: Path) -> None:
    write_transforms(tmp_path)
    reader = TransformsReader(tmp_path, test_fraction=0.3)
    test, train = names(reader, "test"), names(reader, "train")
    assert len(test) == 3 and len(train) == 7 and not set(test) & set(train)
    assert names(TransformsReader(tmp_path, test_fraction=0.3), "test") == test
    assert any(names(TransformsReader(tmp_path, test_fraction=0.3, seed=seed), "test") != test for seed in (1, 2, 3))
    assert len(names(TransformsReader(tmp_path, test_fraction=0.001), "test")) == 1
    assert len(names(TransformsReader(tmp_path, test_fraction=0, val_hold=0), "train")) == 10


def test_lists_of_the_file_decide(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_transforms(
        tmp_path,
        train_filenames=["./images/r_3.png", "images/r_1"],
        val_filenames=["images/r_5.png"],
        test_filenames=["images\\r_6.png", "images/r_9.png"],
    )
    reader = TransformsReader(tmp_path)
    assert names(reader, "train") == ("r_1.png", "r_3.png")
    assert names(reader, "val") == ("r_5.png",)
    assert names(reader, "test") == ("r_6.png", "r_9.png")
    assert not caplog.records


def test_file_without_test_list(tmp_path: Path) -> None:
    reader = TransformsReader(write_transforms(tmp_path, train_filenames=["images/r_3.png"]))
    with pytest.raises(SceneError, match="no views for split 'test'. 'test_filenames' of the file"):
        reader.read("test")


@pytest.mark.parametrize("lists", [["images/r_77.png"], "images/r_1.png", [3], [""]])
def test_lists_that_make_no_sense_are_refused(tmp_path: Path, lists: object) -> None:
    reader = TransformsReader(write_transforms(tmp_path, train_filenames=lists))
    with pytest.raises(SceneError, match=r"transforms.json: 'train_filenames'"):
        reader.read("train")


def test_one_training_view_in_eight_validates(tmp_path: Path) -> None:
    reader = TransformsReader(write_transforms(tmp_path, count=20), test_fraction=0.2)
    train, val, test = (names(reader, split) for split in ("train", "val", "test"))
    assert (len(train), len(val), len(test)) == (14, 2, 4) and len({*train, *val, *test}) == 20
    assert len(names(TransformsReader(tmp_path, test_fraction=0.2, val_hold=4), "val")) == 4


def test_small_scenes_hold_nothing_back(tmp_path: Path) -> None:
    reader = TransformsReader(write_transforms(tmp_path, count=8), test_fraction=0.2)
    assert not reader.has("val") and len(names(reader, "train")) == 6
    with pytest.raises(SceneError, match="no views for split 'val'.*val_hold"):
        reader.read("val")


def test_paths_without_suffix_and_the_file_itself_as_root(tmp_path: Path) -> None:
    write_transforms(tmp_path)
    edit_json(tmp_path / "transforms.json", frames=orbit_frames(10, suffix=""))
    assert len(names(TransformsReader(tmp_path / "transforms.json"), "train")) == 8


def test_downscale(tmp_path: Path) -> None:
    scene = TransformsReader(write_transforms(tmp_path, cx=3.0, w=8, h=6), downscale=2, val_hold=0).read("train")
    assert scene.images.shape == (9, 3, 4, 4)
    assert scene.camera.intrinsics.tolist()[0] == [3.5, 3.5, 1.5, 1.5]


def test_masks_are_pointed_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    edit_frame(write_transforms(tmp_path) / "transforms.json", 2, mask_path="masks/r_2.png")
    with caplog.at_level(logging.WARNING):
        TransformsReader(tmp_path).read("train")
    assert "they are not used" in caplog.text


def test_frames_without_an_image_are_left_out_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    names = [f"images/r_{view}.png" for view in range(10)]
    write_transforms(tmp_path, train_filenames=names[:8], test_filenames=names[8:])
    for view in (4, 9):
        (tmp_path / "images" / f"r_{view}.png").unlink()
    reader = TransformsReader(tmp_path, val_hold=0)
    train, test = reader.read("train"), reader.read("test")
    assert train.names == tuple(f"r_{view}.png" for view in (0, 1, 2, 3, 5, 6, 7)) and test.names == ("r_8.png",)
    whole = TransformsReader(write_transforms(tmp_path / "whole")).views().camera
    assert torch.allclose(train.camera.intrinsics, whole.intrinsics[:7])
    said = [record.message for record in caplog.records if "no image" in record.message]
    assert len(said) == 1 and "lists 10 frames; 2 of them have no image" in said[0] and "r_4" in said[0]


def test_a_capture_without_images_is_refused(tmp_path: Path) -> None:
    write_transforms(tmp_path)
    for image in (tmp_path / "images").iterdir():
        image.unlink()
    with pytest.raises(SceneError, match="nor that of any other of the 10 frames"):
        TransformsReader(tmp_path).read("train")


def test_a_drawn_split_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        TransformsReader(write_transforms(tmp_path), seed=3).read("train")
    assert "a draw with seed 3 keeps 1 of 10 views for test" in caplog.text


def test_wrong_reader_is_pointed_out(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match="this is a scene for BlenderReader"):
        TransformsReader(write_blender(tmp_path)).read("train")


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        ({"aabb_scale": 0}, "'aabb_scale' is 0"),
        ({"aabb_scale": 1e9}, "'aabb_scale' is 1000000000"),
        ({"aabb_scale": "big"}, "'aabb_scale' is 'big'"),
        ({"aabb_scale": 1, "offset": [1, 2]}, "'offset' is"),
        ({"aabb_scale": 1, "offset": "here"}, "'offset' is"),
        ({"aabb_scale": 1, "offset": 3}, "'offset' is"),
        ({"aabb_scale": 1, "offset": [float("nan")] * 3}, "'offset' is"),
        ({"aabb_scale": 1, "scale": -1}, "'scale' is"),
        ({"aabb_scale": 1, "scale": 0}, "'scale' is"),
        ({"frames": []}, "lists no frames"),
    ],
)
def test_statements_that_make_no_sense_are_refused(tmp_path: Path, meta: dict[str, Any], message: str) -> None:
    write_transforms(tmp_path)
    edit_json(tmp_path / "transforms.json", **meta)
    with pytest.raises(SceneError, match=f"transforms.json.*{message}"):
        TransformsReader(tmp_path).read("train")


@pytest.mark.parametrize(
    "options",
    [{"test_fraction": 1.0}, {"test_fraction": -0.1}, {"aabb_scale": 0.0}, {"aabb_scale": 1000.0}, {"downscale": 0}],
)
def test_impossible_options(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(options))} is"):
        TransformsReader(tmp_path, **options)


def test_turntable_looks_at_the_middle(tmp_path: Path) -> None:
    camera = TransformsReader(write_transforms(tmp_path, k1=0.01)).path("auto", 5)
    seen = project(camera, torch.arange(5), torch.zeros(5, 3))
    assert seen.x.tolist() == pytest.approx([3.5] * 5, abs=1e-3)
    assert seen.depth.tolist() == pytest.approx([4.0] * 5, abs=1e-3)
    assert not camera.distortion.any()


def test_walk_without_focus_swings_between_its_cameras(tmp_path: Path) -> None:
    write_transforms(tmp_path)
    for view in range(10):
        pose = torch.eye(3, 4)
        pose[0, 3] = view / 10
        edit_frame(tmp_path / "transforms.json", view, transform_matrix=matrix(pose))
    reader = TransformsReader(tmp_path)
    cameras, path = reader.views().camera.c2w, reader.path("auto", 6).c2w
    assert (path[:, :, 3].abs() <= cameras[:, :, 3].abs().amax(0) + 1e-5).all()
    forward = -cameras[:, :, 2].mean(0)
    assert (-path[:, :, 2] @ forward > 0.8).all()
    assert reader.path("turntable", 3).c2w.shape == (3, 3, 4)


def test_flipped_bytes_never_raise_anything_else(tmp_path: Path) -> None:
    path = write_transforms(tmp_path, count=3, aabb_scale=2, offset=[0.5, 0.5, 0.5], k1=0.0) / "transforms.json"
    good, generator = path.read_bytes(), np.random.default_rng(0)
    refused = 0
    for _ in range(150):
        bad = bytearray(good)
        bad[generator.integers(len(bad))] = generator.choice(bytearray(b'0 9e-.[]{},"n\\'))
        path.write_bytes(bytes(bad))
        try:
            TransformsReader(tmp_path, test_fraction=0).read("train")
        except SceneError:
            refused += 1
    assert refused > 50


def test_every_nth_view_can_be_held_out_for_test(tmp_path: Path) -> None:
    reader = TransformsReader(write_transforms(tmp_path, count=10), test_every=4, val_hold=0)
    every = names(TransformsReader(tmp_path, test_every=0, val_hold=0), "train")
    assert names(reader, "test") == every[::4]
    assert names(reader, "train") == tuple(name for view, name in enumerate(every) if view % 4)
