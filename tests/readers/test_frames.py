"""The transforms files: intrinsics in all spellings, and refusals that name file and frame."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from nerfcomp.errors import SceneError
from nerfcomp.readers.frames import frames_camera, read_frames, read_json
from tests.readers.builders import edit_frame, edit_json, orbit_frames, write_json


def scene(root: Path, frame: dict[str, Any] | None = None, **shared: Any) -> Path:
    """A file of two frames; ``frame`` changes the second."""
    source = root / "transforms.json"
    write_json(source, {"frames": orbit_frames(2), **shared})
    edit_frame(source, 1, **(frame or {}))
    return source


def intrinsics(source: Path, height: int = 60, width: int = 80) -> list[list[float]]:
    rows: list[list[float]] = frames_camera(read_frames(source), height, width).intrinsics.tolist()
    return rows


def test_poses_and_paths(tmp_path: Path) -> None:
    frames = read_frames(scene(tmp_path, {"file_path": "images\\r_1.png"}))
    assert frames.images == (tmp_path / "images/r_0.png", tmp_path / "images/r_1.png")
    expected = torch.tensor([frame["transform_matrix"] for frame in orbit_frames(2)])[:, :3].double()
    torch.testing.assert_close(frames.c2w, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("shared", "expected"),
    [
        ({"camera_angle_x": math.pi / 2}, [40.0, 40.0, 40.0, 30.0]),
        ({"camera_angle_x": math.pi / 2, "camera_angle_y": math.pi / 2}, [40.0, 30.0, 40.0, 30.0]),
        ({"camera_angle_y": math.pi / 2}, [30.0, 30.0, 40.0, 30.0]),
        ({"fl_x": 50}, [50.0, 50.0, 40.0, 30.0]),
        ({"fl_x": 50.5, "fl_y": 51, "cx": 41, "cy": 29, "w": 80, "h": 60.0}, [50.5, 51.0, 41.0, 29.0]),
        ({"fl_x": 50, "camera_angle_x": 1.0}, [50.0, 50.0, 40.0, 30.0]),
    ],
)
def test_shared_intrinsics(tmp_path: Path, shared: dict[str, Any], expected: list[float]) -> None:
    for row in intrinsics(scene(tmp_path, **shared)):
        assert row == pytest.approx(expected)


def test_intrinsics_of_a_frame_win(tmp_path: Path) -> None:
    source = scene(tmp_path, {"camera_angle_x": math.pi / 2, "cx": 3.0, "k1": 0.1}, fl_x=50, cx=41, p2=0.01)
    camera = frames_camera(read_frames(source), 60, 80)
    assert camera.intrinsics.tolist()[0] == pytest.approx([50, 50, 41, 30])
    assert camera.intrinsics.tolist()[1] == pytest.approx([40, 40, 3, 30])
    torch.testing.assert_close(camera.distortion, torch.tensor([[0, 0, 0, 0.01], [0.1, 0, 0, 0.01]]))


def test_file_without_frames_is_an_empty_one(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"fl_x": 3, "frames": []})
    frames = read_frames(tmp_path / "a.json")
    assert frames_camera(frames, 6, 8).c2w.shape == (0, 3, 4)


@pytest.mark.parametrize(
    ("shared", "frame", "message"),
    [
        ({}, {}, "no focal length"),
        ({"fl_x": 0}, {}, "'fl_x' 0.0 is impossible"),
        ({"fl_x": -50}, {}, "'fl_x' -50.0 is impossible"),
        ({"fl_x": "50"}, {}, "'fl_x' is '50'; it must be a finite number"),
        ({"fl_x": True}, {}, "'fl_x' is True"),
        ({"fl_x": math.nan}, {}, "'fl_x' is nan"),
        ({"fl_x": 10**400}, {}, "must be a finite number"),
        ({"camera_angle_x": math.pi}, {}, "'camera_angle_x' .* is impossible"),
        ({"camera_angle_x": 0}, {}, "'camera_angle_x' .* is impossible"),
        ({"fl_x": 50, "w": 800, "h": 600}, {}, "'w' is 800, but .* have 80x60"),
        ({"fl_x": 50}, {"h": 61}, r"r_1\.png: 'h' is 61, but"),
        ({"fl_x": 50}, {"cx": None, "cy": [1]}, r"r_1\.png: 'cy' is \[1\]"),
        ({"fl_x": 50, "camera_model": "OPENCV_FISHEYE"}, {}, "not supported"),
        ({"fl_x": 50, "is_fisheye": True}, {}, "not supported"),
        ({"fl_x": 50}, {"k3": 0.1}, r"r_1\.png: the lens .*k3"),
        ({"fl_x": 30}, {"k1": -0.9}, r"r_1\.png: the lens distortion .* cannot be undone"),
        ({"fl_x": 30}, {"k1": 1e25}, r"r_1\.png: the lens distortion .* cannot be undone"),
    ],
)
def test_impossible_intrinsics_are_refused(
    tmp_path: Path, shared: dict[str, Any], frame: dict[str, Any], message: str
) -> None:
    source = scene(tmp_path, frame, **shared)
    with pytest.raises(SceneError, match=f"transforms.json.*{message}"):
        intrinsics(source)


@pytest.mark.parametrize("model", ["OPENCV", "PINHOLE", "SIMPLE_RADIAL", ""])
def test_known_lens_models_pass(tmp_path: Path, model: str) -> None:
    assert intrinsics(scene(tmp_path, fl_x=50, camera_model=model, k3=0, k1=0.01))


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ({"transform_matrix": None}, "no 4x4 list of numbers"),
        ({"transform_matrix": [[1, 2], [3]]}, "no 4x4 list of numbers"),
        ({"transform_matrix": [["a"] * 4] * 4}, "no 4x4 list of numbers"),
        ({"transform_matrix": [[10**400] * 4] * 4}, "no 4x4 list of numbers"),
        ({"transform_matrix": [[1.0] * 4] * 2}, "shape"),
        ({"transform_matrix": [[math.nan] * 4] * 4}, "NaN"),
        ({"transform_matrix": [[2.0, 0, 0, 0], [0, 2, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]]}, "not rigid"),
        ({"file_path": ""}, "'file_path' is ''"),
        ({"file_path": 7}, "'file_path' is 7"),
        ({"file_path": "a\0b"}, "'file_path'"),
    ],
)
def test_unusable_frames_are_refused(tmp_path: Path, frame: dict[str, Any], message: str) -> None:
    with pytest.raises(SceneError, match=f"transforms.json, frame .*{message}"):
        read_frames(scene(tmp_path, frame))


@pytest.mark.parametrize("frames", [None, {}, "text", [1, 2], 3])
def test_frames_must_be_a_list_of_objects(tmp_path: Path, frames: Any) -> None:
    source = scene(tmp_path)
    edit_json(source, frames=frames)
    with pytest.raises(SceneError, match=r"transforms.json has no list 'frames'"):
        read_frames(source)


@pytest.mark.parametrize("text", ["", "{", "[1]", "nan", '{"a": 1,}', "[" * 100_000, "\xff", '"' + "9" * 10])
def test_malformed_json_is_refused(tmp_path: Path, text: str) -> None:
    source = tmp_path / "transforms.json"
    source.write_bytes(text.encode("latin-1"))
    with pytest.raises(SceneError, match="transforms.json"):
        read_json(source)


def test_missing_json_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match="no file .*transforms.json"):
        read_json(tmp_path / "transforms.json")
    with pytest.raises(SceneError, match="not readable as JSON"):
        read_json(tmp_path)
