"""COLMAP's models, written here by the description of the format, and raw exports of Polycam."""

import json
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from nerfcomp.errors import SceneError
from nerfcomp.readers import COLMAPReader, PolycamReader, TransformsReader
from nerfcomp.readers.colmap_files import largest_model
from tests.readers.builders import orbit_frames, write_images, write_transforms

COUNT, HEIGHT, WIDTH = 10, 6, 8
LENS = (7.0, 7.5, 4.25, 2.75, -0.01, 0.002, 0.001, -0.001)  # fx fy cx cy k1 k2 p1 p2


def world_to_camera(view: int) -> tuple[list[float], list[float]]:
    """Quaternion (w x y z) and translation of a view, with axes right, down, ahead."""
    pose = np.array(orbit_frames(COUNT)[view]["transform_matrix"])
    rotation = (pose[:3, :3] * [1, -1, -1]).T
    x, y, z, w = Rotation.from_matrix(rotation).as_quat()
    return [w, x, y, z], list(-rotation @ pose[:3, 3])


def write_binary(folder: Path, views: list[int], model: int = 4, parameters: tuple[float, ...] = LENS) -> None:
    folder.mkdir(parents=True)
    camera = struct.pack("<QIiQQ", 1, 3, model, WIDTH, HEIGHT) + struct.pack(f"<{len(parameters)}d", *parameters)
    (folder / "cameras.bin").write_bytes(camera)
    data = struct.pack("<Q", len(views))
    for view in reversed(views):
        quaternion, translation = world_to_camera(view)
        data += struct.pack("<I7dI", 100 + view, *quaternion, *translation, 3) + f"r_{view}.png".encode() + b"\0"
        points = [(1.5, 2.5, -1), (3.0, 1.0, 77)][: view % 3]
        data += struct.pack("<Q", len(points)) + b"".join(struct.pack("<ddq", *point) for point in points)
    (folder / "images.bin").write_bytes(data)


def write_text(folder: Path, views: list[int]) -> None:
    folder.mkdir(parents=True)
    values = " ".join(map(repr, LENS))
    (folder / "cameras.txt").write_text(f"# Camera list\n3 OPENCV {WIDTH} {HEIGHT} {values}\n")
    lines = ["# Image list with two lines of data per image:"]
    for view in views:
        quaternion, translation = world_to_camera(view)
        numbers = " ".join(map(repr, map(float, [*quaternion, *translation])))
        lines += [f"{100 + view} {numbers} 3 r_{view}.png", "1.5 2.5 -1" if view % 2 else ""]
    (folder / "images.txt").write_text("\n".join(lines) + "\n")


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    write_images(tmp_path / "images", [f"r_{view}.png" for view in range(COUNT)], HEIGHT, WIDTH, channels=3)
    return tmp_path


@pytest.mark.parametrize("place", ["sparse/0", "sparse", "colmap/sparse/0", "."])
@pytest.mark.parametrize("kind", ["binary", "text"])
def test_a_model_is_the_scene_of_the_same_poses_in_a_transforms_file(capture: Path, kind: str, place: str) -> None:
    folder = capture / place
    if place == ".":
        write = write_binary if kind == "binary" else write_text
        write(capture / "model", list(range(COUNT)))
        for path in (capture / "model").iterdir():
            path.rename(capture / path.name)
    else:
        (write_binary if kind == "binary" else write_text)(folder, list(range(COUNT)))
    names = ("fl_x", "fl_y", "cx", "cy", "k1", "k2", "p1", "p2")
    write_transforms(capture / "other", HEIGHT, WIDTH, COUNT, **dict(zip(names, LENS)))
    known = TransformsReader(capture / "other", recenter=True, test_every=8, val_hold=0)
    reader = COLMAPReader(capture, val_hold=0)
    for split in ("train", "test"):
        found, wanted = reader.read(split), known.read(split)
        assert found.names == wanted.names and len(found.names) == {"train": 8, "test": 2}[split]
        for value, other in zip(found.camera[:3], wanted.camera[:3]):
            torch.testing.assert_close(value, other, atol=1e-5, rtol=0)
        torch.testing.assert_close(found.aabb, wanted.aabb)
        assert found.cascades == wanted.cascades and torch.equal(found.images, wanted.images)


def test_the_largest_model_is_taken_wherever_it_was_put(capture: Path) -> None:
    write_binary(capture / "sparse" / "0", [0, 1])
    write_text(capture / "sparse" / "1", list(range(2, COUNT)))
    assert largest_model(capture).folder == capture / "sparse" / "1"
    assert len(COLMAPReader(capture, test_every=0, val_hold=0).read("train").names) == COUNT - 2


@pytest.mark.parametrize(("model", "values"), [(0, (7.0, 4.0, 3.0)), (2, (7.0, 4.0, 3.0, -0.01)), (1, (7, 7.5, 4, 3))])
def test_simpler_lenses_are_read(capture: Path, model: int, values: tuple[float, ...]) -> None:
    write_binary(capture / "sparse" / "0", list(range(COUNT)), model, values)
    camera = COLMAPReader(capture, test_every=0, val_hold=0).read("train").camera
    focal = (7.0, 7.5) if model == 1 else (7.0, 7.0)
    assert camera.intrinsics[0].tolist() == [*focal, 4.0, 3.0]
    assert float(camera.distortion[0, 0]) == pytest.approx(-0.01 if model == 2 else 0.0)


def test_what_is_missing_damaged_or_unread_is_said(capture: Path) -> None:
    with pytest.raises(SceneError, match="compress.py poses"):
        COLMAPReader(capture).read("train")
    model = capture / "sparse" / "0"
    write_binary(model, list(range(COUNT)))
    whole = (model / "images.bin").read_bytes()
    for cut in (4, 60, len(whole) - 1):
        (model / "images.bin").write_bytes(whole[:cut])
        with pytest.raises(SceneError, match="no whole model"):
            COLMAPReader(capture).read("train")
    (model / "images.bin").write_bytes(whole)
    (model / "cameras.bin").unlink()
    with pytest.raises(SceneError, match="cameras.bin"):
        COLMAPReader(capture).read("train")
    shutil.rmtree(model)
    write_binary(model, [0, 1], 5, LENS)
    with pytest.raises(SceneError, match="Undistort"):
        COLMAPReader(capture, test_every=0).read("train")
    shutil.rmtree(model)
    write_binary(model, [0, 1], 7, (7.0, 7.0, 4.0, 3.0, 0.5))
    with pytest.raises(SceneError, match="FOV is not supported"):
        COLMAPReader(capture, test_every=0).read("train")


def test_images_that_are_gone_are_left_out(capture: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_binary(capture / "sparse" / "0", list(range(COUNT)))
    (capture / "images" / "r_4.png").unlink()
    assert len(COLMAPReader(capture, test_every=0, val_hold=0).read("train").names) == COUNT - 1
    assert "lists 10 frames; 1 of them have no image" in caplog.text


@pytest.mark.parametrize("corrected", [False, True])
def test_a_raw_export_of_polycam(tmp_path: Path, corrected: bool) -> None:
    prefix, inner = "corrected_" if corrected else "", tmp_path / "keyframes"
    write_images(inner / f"{prefix}images", [f"{view}.jpg" for view in range(4)], HEIGHT, WIDTH, channels=3)
    for view, frame in enumerate(orbit_frames(4)):
        pose = np.array(frame["transform_matrix"])[[1, 2, 0]]  # the app's world has y up
        content = {"fx": 7.0, "fy": 7.5, "cx": 4.25, "cy": 2.75, "width": WIDTH, "height": HEIGHT, "blur_score": 90}
        content |= {f"t_{row}{column}": pose[row, column] for row in range(3) for column in range(4)}
        (inner / f"{prefix}cameras").mkdir(exist_ok=True)
        (inner / f"{prefix}cameras" / f"{view}.json").write_text(json.dumps(content))
    scene = PolycamReader(tmp_path, test_every=0, val_hold=0).read("train")
    write_transforms(tmp_path / "other", HEIGHT, WIDTH, 4, fl_y=7.5, cx=4.25, cy=2.75)
    known = TransformsReader(tmp_path / "other", recenter=True, test_every=0, val_hold=0).read("train")
    torch.testing.assert_close(scene.camera.c2w, known.camera.c2w, atol=1e-5, rtol=0)
    assert scene.camera.intrinsics[0].tolist() == [7.0, 7.5, 4.25, 2.75]
    (inner / f"{prefix}cameras" / "0.json").write_text(json.dumps({"fx": 7.0}))
    with pytest.raises(SceneError, match="has no t_00"):
        PolycamReader(tmp_path).read("train")
    with pytest.raises(SceneError, match="developer mode"):
        PolycamReader(tmp_path / "other").read("train")
