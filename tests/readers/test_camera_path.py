import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from nerfcomp.errors import SceneError
from nerfcomp.geometry.cameras import make_camera, pixel_directions
from nerfcomp.geometry.paths import spherical_path
from nerfcomp.readers.camera_path import read_camera_path, write_camera_path


def content() -> dict[str, Any]:
    pose = [1.0, 0.0, 0.0, 2.0, 0.0, 1.0, 0.0, 3.0, 0.0, 0.0, 1.0, 4.0, 0.0, 0.0, 0.0, 1.0]
    return {
        "camera_type": "perspective",
        "render_height": 100,
        "render_width": 160,
        "fps": 24,
        "seconds": 4,
        "camera_path": [{"camera_to_world": pose, "fov": 90, "aspect": 1.6}],
    }


def test_the_field_of_view_is_that_of_the_height(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(content()))
    path = read_camera_path(tmp_path / "a.json")
    assert path.fps == 24 and path.camera.c2w[0, :, 3].tolist() == [2.0, 3.0, 4.0]
    assert (path.camera.width, path.camera.height) == (160, 100)
    top = pixel_directions(path.camera.intrinsics, path.camera.distortion, torch.tensor([79.5]), torch.tensor([-0.5]))
    assert math.degrees(math.atan(float(top[0, 1]))) == pytest.approx(45.0, abs=1e-4)
    assert float(top[0, 0]) == pytest.approx(0.0, abs=1e-6)


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    camera = make_camera(spherical_path(3, 4.0, 0.4), 40, 60, 55.0)
    write_camera_path(tmp_path / "a.json", camera, 12.5)
    path = read_camera_path(tmp_path / "a.json")
    assert path.fps == 12.5
    for found, wanted in zip(path.camera[:3], camera[:3]):
        assert torch.allclose(found, wanted, atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"camera_type": "fisheye"}, "only 'perspective'"),
        ({"camera_path": []}, "has no frame"),
        ({"camera_path": None}, "has no frame"),
        ({"camera_path": [{"fov": 50}]}, "camera_to_world"),
        ({"camera_path": [{"fov": 50, "camera_to_world": [1.0] * 16}]}, "not rigid"),
        ({"camera_path": [{"fov": 50, "camera_to_world": [1.0]}]}, "16 numbers"),
        ({"camera_path": [{"fov": 180, "camera_to_world": content()["camera_path"][0]["camera_to_world"]}]}, "fov"),
        ({"fps": 0}, "fps must lie"),
        ({"fps": "x"}, "is no path"),
        ({"render_height": 10**6}, "1 to 16384"),
        ({"render_width": 1.5}, "1 to 16384"),
    ],
)
def test_what_is_no_path_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    (tmp_path / "a.json").write_text(json.dumps(content() | changes))
    with pytest.raises(SceneError, match=message):
        read_camera_path(tmp_path / "a.json")


def test_missing_and_foreign_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match="There is no file"):
        read_camera_path(tmp_path / "a.json")
    (tmp_path / "a.json").write_bytes(b"\xff\xfe{")
    with pytest.raises(SceneError, match="is no JSON file"):
        read_camera_path(tmp_path / "a.json")
    (tmp_path / "a.json").write_text("[1]")
    with pytest.raises(SceneError, match="is no path of cameras"):
        read_camera_path(tmp_path / "a.json")
