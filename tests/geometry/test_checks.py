"""Numbers of scenes that cannot be rendered, from readers, checkpoints and files alike."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from nerfcomp.artifacts.scene_info import SceneInfo
from nerfcomp.errors import SceneError
from nerfcomp.geometry.cameras import Camera, make_camera
from nerfcomp.geometry.checks import check_scene_numbers
from nerfcomp.readers import BlenderReader
from tests.readers.builders import edit_frame, write_blender

POSE = [1.0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 4]
SCENE: dict[str, Any] = {
    "aabb": [[-1.0] * 3, [1.0] * 3],
    "near": 2.0,
    "far": 6.0,
    "ndc": False,
    "background": [1.0] * 3,
    "height": 8,
    "width": 8,
    "intrinsics": [8.0, 8.0, 4.0, 4.0],
    "distortion": [0.0] * 4,
    "poses": [POSE],
}


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("near", "1.4", "number"),
        ("near", True, "number"),
        ("near", 7.0, "near < far"),
        ("far", 1e300, "near < far"),
        ("background", [1e308, 0.0, 0.0], "finite"),
        ("background", [2.0, 0.0, 0.0], "0 to 1"),
        ("background", "abc", "3 numbers"),
        ("aabb", [[-1e300] * 3, [1e300] * 3], "finite"),
        ("aabb", [[-1e9] * 3, [1e9] * 3], "coordinates up to"),
        ("aabb", [[1e5] * 3, [1e5 + 1] * 3], "thin"),
        ("aabb", [[1.0] * 3, [-1.0] * 3], "thin"),
        ("poses", [[*POSE[:3], 1e30, *POSE[4:]]], "finite"),
        ("poses", [[*POSE[:3], 1e9, *POSE[4:]]], "camera stands at 1e"),
        ("poses", [[9.0, *POSE[1:]]], "no rotation"),
        ("poses", [[float("nan"), *POSE[1:]]], "finite"),
        ("poses", [], "1 to"),
        ("poses", [POSE, None], "12 numbers"),
        ("poses", 3, "poses"),
        ("intrinsics", [1e-9, 8.0, 4.0, 4.0], "Focal lengths"),
        ("intrinsics", [8.0, 8.0, 1e12, 4.0], "principal point"),
        ("distortion", [1e9, 0.0, 0.0, 0.0], "lens"),
        ("distortion", [10**400, 0.0, 0.0, 0.0], "finite"),
        ("height", True, "whole numbers"),
        ("height", 10**400, "whole numbers"),
        ("ndc", 1, "true or false"),
        ("to_world", [10**400] * 16, "finite"),
    ],
)
def test_files_with_impossible_numbers_are_refused(key: str, value: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        SceneInfo.from_json({**SCENE, key: value})


def test_usual_scenes_pass() -> None:
    known = SceneInfo.from_json(SCENE)
    assert SceneInfo.from_json(json.loads(json.dumps(known.to_json()))) == known


def test_a_pose_far_away_is_refused_before_training(tmp_path: Path) -> None:
    root = tmp_path
    write_blender(root)
    pose = [[1.0, 0, 0, 1e20], [0, 1, 0, 0], [0, 0, 1, 4], [0, 0, 0, 1]]
    edit_frame(root / "transforms_train.json", 0, transform_matrix=pose)
    with pytest.raises(SceneError, match="cannot be used"):
        BlenderReader(root).read("train")


def test_nothing_is_said_of_numbers_that_are_not_there() -> None:
    camera: Camera = make_camera(torch.eye(4)[:3], 8, 8, 8.0)
    check_scene_numbers(camera, 0, 1, torch.tensor([[-1.0] * 3, [1.0] * 3]))
