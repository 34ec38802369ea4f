"""Paths of cameras as nerfstudio's viewer saves them (``camera_path.json``)."""

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nerfcomp.errors import SceneError
from nerfcomp.files import atomic_write
from nerfcomp.geometry.cameras import Camera
from nerfcomp.readers.alignment import check_pose

_LARGEST = 2**14  # pixels along a side


class CameraPath(NamedTuple):
    """A path: F views of one size, and how fast they are shown, in frames per second."""

    camera: Camera
    fps: float


def read_camera_path(path: Path) -> CameraPath:
    """Read a path; its poses are those of the scene's own space.

    Args:
        path: JSON object with ``camera_path``, a list of frames of which each has ``camera_to_world`` (16 row-major
            numbers) and ``fov`` (vertical, degrees); ``render_height`` and ``render_width`` in pixels; ``fps``, or
            ``seconds`` of the whole.

    Returns:
        The views and their rate.

    Raises:
        SceneError: The file is missing or is no such path; cameras are not of the perspective kind.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SceneError(f"There is no file {path}. Name a camera_path.json, or a kind of path.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise SceneError(f"{path} is no JSON file ({error}). Save the path again.") from error
    try:
        return _parse(content, path)
    except SceneError:
        raise
    except (KeyError, TypeError, AttributeError, OverflowError, ValueError) as error:
        raise SceneError(f"{path} is no path of cameras: {error!r} is missing or of the wrong type.") from error


def _parse(content: Any, path: Path) -> CameraPath:
    """Check a path and take it apart."""
    if content.get("camera_type", "perspective") != "perspective":
        raise SceneError(f"{path}: the cameras are {content['camera_type']!r}; only 'perspective' can be drawn.")
    height, width, frames = content["render_height"], content["render_width"], content["camera_path"]
    if not all(type(size) is int and 1 <= size <= _LARGEST for size in (height, width)):
        raise SceneError(f"{path}: pictures of {width} x {height} pixels; 1 to {_LARGEST} are allowed along a side.")
    if not frames:
        raise SceneError(f"{path} has no frame.")
    fps = float(content["fps"] if "fps" in content else len(frames) / content["seconds"])
    angles = [float(frame["fov"]) for frame in frames]
    if not 0 < fps <= 1000 or not all(0 < angle < 180 for angle in angles):
        raise SceneError(f"{path}: fps must lie above 0, at most 1000, and fov between 0 and 180 degrees.")
    poses = [_pose(frame["camera_to_world"], f"{path}, frame {index}") for index, frame in enumerate(frames)]
    focal = torch.tensor([height / 2 / math.tan(math.radians(angle) / 2) for angle in angles])
    middle = torch.tensor([width / 2, height / 2]).expand(len(frames), 2)
    intrinsics = torch.cat([focal[:, None].expand(-1, 2), middle], 1).float()
    camera = Camera(torch.stack(poses).float(), intrinsics, torch.zeros(len(frames), 4), height, width)
    return CameraPath(camera, fps)


def _pose(values: Any, where: str) -> Tensor:
    """Check one pose of 16 numbers."""
    if not isinstance(values, list) or len(values) != 16:
        raise SceneError(f"{where}: camera_to_world must be 16 numbers.")
    return check_pose(torch.tensor(values, dtype=torch.float64).reshape(4, 4), where)


def write_camera_path(path: Path, camera: Camera, fps: float) -> None:
    """Write what `read_camera_path` reads.

    Args:
        path: The file.
        camera: See `path_content`.
        fps: Frames per second.
    """
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(path_content(camera, fps)), encoding="utf-8")


def path_content(camera: Camera, fps: float) -> dict[str, Any]:
    """The JSON value of a path; lenses are left out, and the middle of the image is its principal point.

    Args:
        camera: F views.
        fps: Frames per second.
    """
    bottom = [0.0, 0.0, 0.0, 1.0]
    frames = [
        {
            "camera_to_world": [*pose.flatten().tolist(), *bottom],
            "fov": math.degrees(2 * math.atan(camera.height / 2 / fy)),
            "aspect": camera.width / camera.height,
        }
        for pose, fy in zip(camera.c2w.double(), camera.intrinsics[:, 1].tolist())
    ]
    return {
        "camera_type": "perspective",
        "render_height": camera.height,
        "render_width": camera.width,
        "camera_path": frames,
        "fps": fps,
        "seconds": len(frames) / fps,
    }
