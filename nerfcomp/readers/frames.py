"""The family of ``transforms.json`` files: Blender's, instant-ngp's and nerfstudio's share poses and intrinsics.

A file has shared entries and a list ``frames``; a frame's own entry wins over the shared one.
"""

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nerfcomp.errors import SceneError
from nerfcomp.geometry.cameras import Camera, lens_error
from nerfcomp.readers.alignment import check_pose
from nerfcomp.readers.images import existing_image

_UNREAD_LENSES = ("fisheye", "equirect", "panorama", "ortho")
_UNREAD_COEFFICIENTS = ("k3", "k4", "k5", "k6")
_LARGEST = 1e30  # of any number in a file: everything beyond, infinity and NaN is no measurement
_LENS_ERROR = 0.1  # pixels that undoing and redoing the lens distortion may miss


class Frames(NamedTuple):
    """One transforms file, poses checked, intrinsics not yet read.

    Attributes:
        source: The file.
        shared: Entries for all frames, as they stand in the file.
        entries: V entries of ``frames``.
        images: V image paths as described, perhaps without suffix.
        c2w: (V, 3, 4) float64.
        missing: ``file_path`` of frames that were left out, because they have no image.
    """

    source: Path
    shared: dict[str, Any]
    entries: tuple[dict[str, Any], ...]
    images: tuple[Path, ...]
    c2w: Tensor
    missing: tuple[str, ...] = ()


def read_frames(source: Path) -> Frames:
    """Read a transforms file.

    Args:
        source: The file; image paths are relative to its folder.

    Returns:
        Its frames, perhaps none.

    Raises:
        SceneError: If the file is missing, is not JSON of the expected form, or a pose is unusable.
    """
    shared = read_json(source)
    entries = shared.get("frames")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise SceneError(f"{source} has no list 'frames' of objects; it is not a transforms file.")
    images, poses = [], []
    for index, entry in enumerate(entries):
        name = entry.get("file_path")
        if not isinstance(name, str) or not name or "\0" in name:
            raise SceneError(f"{source}, frame {index}: 'file_path' is {name!r}; it must be the path of an image.")
        images.append(source.parent / name.replace("\\", "/"))
        poses.append(check_pose(_matrix(entry.get("transform_matrix"), source, name), f"{source}, frame {name}"))
    c2w = torch.stack(poses) if poses else torch.empty(0, 3, 4, dtype=torch.float64)
    return Frames(source, shared, tuple(entries), tuple(images), c2w)


def with_images(frames: Frames) -> Frames:
    """Leave out frames whose image does not exist, as other tools do: famous captures list more than they ship.

    Raises:
        SceneError: There are frames, but none has an image.
    """
    kept = [view for view, image in enumerate(frames.images) if existing_image(image) is not None]
    if frames.images and not kept:
        raise SceneError(
            f"no image {frames.images[0]}, nor that of any other of the {len(frames.images)} frames of "
            f"{frames.source}. Restore the images, or correct the paths of the frames."
        )
    entries = tuple(frames.entries[view] for view in kept)
    images = tuple(frames.images[view] for view in kept)
    missing = tuple(str(entry["file_path"]) for view, entry in enumerate(frames.entries) if view not in set(kept))
    return frames._replace(entries=entries, images=images, c2w=frames.c2w[kept], missing=missing)


def read_json(source: Path) -> dict[str, Any]:
    """Read a JSON object.

    Args:
        source: The file.

    Returns:
        The object.

    Raises:
        SceneError: If the file is missing, unreadable, no JSON, or no object.
    """
    try:
        content = json.loads(source.read_bytes())
    except FileNotFoundError as error:
        raise SceneError(f"no file {source}. Check the scene's folder and format.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise SceneError(f"{source} is not readable as JSON ({error}). Restore or export it again.") from error
    if not isinstance(content, dict):
        raise SceneError(f"{source} holds a JSON {type(content).__name__}; a transforms file holds an object.")
    return content


def frames_camera(frames: Frames, height: int, width: int) -> Camera:
    """Read the intrinsics of all frames.

    Args:
        frames: A transforms file.
        height: Rows of the first image.
        width: Columns of the first image.

    Returns:
        V views with the poses of the file.

    Raises:
        SceneError: If focal length or image size are missing, contradictory or impossible, or the lens is of a kind
            that is not read.
    """
    rows = [_intrinsics(frames, entry, height, width) for entry in frames.entries]
    lenses = [_lens(frames, entry) for entry in frames.entries]
    intrinsics, distortion = (torch.tensor(table, dtype=torch.float32).reshape(-1, 4) for table in (rows, lenses))
    camera = Camera(frames.c2w.float(), intrinsics, distortion, height, width)
    if camera.distortion.any() and (error := lens_error(camera)).max() > _LENS_ERROR:
        worst = int(error.argmax())
        raise SceneError(
            f"{frames.source}, frame {frames.entries[worst]['file_path']}: the lens distortion {lenses[worst]} cannot "
            "be undone up to the border of the image. Undistort the images first, with COLMAP for example."
        )
    return camera


def number(entry: dict[str, Any], key: str, where: str) -> float | None:
    """Look up a finite number.

    Args:
        entry: JSON object.
        key: Its key.
        where: What to call the object in messages.

    Returns:
        The number, None when the key is absent.

    Raises:
        SceneError: If the value is no finite number.
    """
    value = entry.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _LARGEST:
        raise SceneError(f"{where}: {key!r} is {value!r}; it must be a finite number.")
    return float(value)


def _matrix(value: Any, source: Path, name: str) -> Tensor:
    """Turn JSON's nested lists into a tensor."""
    try:
        return torch.tensor(value, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise SceneError(f"{source}, frame {name}: 'transform_matrix' is no 4x4 list of numbers ({error}).") from error


def _find(frames: Frames, entry: dict[str, Any], key: str) -> float | None:
    """Look up a number in the frame, then among the shared entries."""
    own = number(entry, key, f"{frames.source}, frame {entry['file_path']}")
    return own if own is not None else number(frames.shared, key, str(frames.source))


def _intrinsics(frames: Frames, entry: dict[str, Any], height: int, width: int) -> tuple[float, float, float, float]:
    """Read fx, fy, cx, cy of one frame."""
    where = f"{frames.source}, frame {entry['file_path']}"
    for key, size in (("w", width), ("h", height)):
        said = _find(frames, entry, key)
        if said is not None and said != size:
            raise SceneError(
                f"{where}: {key!r} is {said:g}, but the images of this scene have {width}x{height} pixels. Use the "
                "images that the file was made for, or scale its intrinsics."
            )
    fx, fy = _focal(frames, entry, "x", width), _focal(frames, entry, "y", height)
    if fx is None and fy is None:
        raise SceneError(f"{where}: no focal length. Add 'fl_x' (pixels) or 'camera_angle_x' (radians).")
    fx, fy = fx or fy or 0.0, fy or fx or 0.0
    cx, cy = _find(frames, entry, "cx"), _find(frames, entry, "cy")
    return fx, fy, width / 2 if cx is None else cx, height / 2 if cy is None else cy


def _focal(frames: Frames, entry: dict[str, Any], axis: str, size: int) -> float | None:
    """Read a focal length in pixels, stated as such or by the angle of view; a frame's own statement wins."""
    for source in (entry, frames.shared):
        where = f"{frames.source}, frame {entry['file_path']}"
        focal, angle = number(source, f"fl_{axis}", where), number(source, f"camera_angle_{axis}", where)
        if focal is None and angle is None:
            continue
        if focal is None and angle is not None and 0 < angle < math.pi:
            focal = 0.5 * size / math.tan(0.5 * angle)
        if focal is None or not 1e-3 * size < focal < 1e6 * size:
            own = number(source, f"fl_{axis}", where)
            said = f"'fl_{axis}' {own}" if own is not None else f"'camera_angle_{axis}' {angle}"
            raise SceneError(f"{where}: {said} is impossible; fl is in pixels, camera_angle in radians below pi.")
        return focal
    return None


def _lens(frames: Frames, entry: dict[str, Any]) -> tuple[float, float, float, float]:
    """Read k1, k2, p1, p2 of one frame and refuse lenses of another kind."""
    where = f"{frames.source}, frame {entry['file_path']}"
    model = str(entry.get("camera_model", frames.shared.get("camera_model", ""))).lower()
    fisheye = entry.get("is_fisheye", frames.shared.get("is_fisheye", False))
    extra = [key for key in _UNREAD_COEFFICIENTS if _find(frames, entry, key)]
    if fisheye or extra or any(kind in model for kind in _UNREAD_LENSES):
        raise SceneError(
            f"{where}: the lens (model {model or 'unnamed'!r}, {', '.join(extra) or 'no further'} coefficients) is not "
            "supported; pinhole and OpenCV's k1 k2 p1 p2 are. Undistort the images first, with COLMAP for example."
        )
    k1, k2, p1, p2 = ((_find(frames, entry, key) or 0.0) for key in ("k1", "k2", "p1", "p2"))
    return k1, k2, p1, p2
