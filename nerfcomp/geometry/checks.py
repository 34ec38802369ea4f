"""Which numbers a scene may have: the same for readers, checkpoints and files.

Rays are float32: what is much larger than the scene's box, or much smaller, cannot be told apart along them.
"""

import math
from typing import Any

import torch
from torch import Tensor

from nerfcomp.geometry.cameras import Camera

LARGEST = 1e6  # of a coordinate, in world units
_FARTHEST = 1e7
_THINNEST = 1e-4  # width of the box over its largest coordinate
_RIGID = 0.05  # poses in files are rounded
_LENS = 100.0  # of a coefficient of the lens
_FOCAL = (1e-3, 1e6)  # in widths of the image


def check_scene_numbers(camera: Camera, near: Any, far: Any, aabb: Tensor, background: Any = (0.0, 0.0, 0.0)) -> None:
    """Refuse scenes that cannot be rendered.

    Args:
        camera: Its views.
        near: Where rays begin.
        far: Where they end.
        aabb: (2, 3) box.
        background: Three values.

    Raises:
        ValueError: A number is not finite or out of range; the message says which one and what is allowed.

    >>> from nerfcomp.geometry.cameras import make_camera
    >>> pose = torch.eye(4)[:3]
    >>> check_scene_numbers(make_camera(pose, 8, 8, 8.0), 1.0, "1.4", torch.tensor([[-1.0] * 3, [1.0] * 3]))
    Traceback (most recent call last):
    ...
    ValueError: far is '1.4'; it must be a number.
    """
    check_box(aabb)
    for name, value in (("near", near), ("far", far)):
        if type(value) not in (int, float):
            raise ValueError(f"{name} is {str(value)[:40]!r}; it must be a number.")
    if not 0.0 <= near < far <= _FARTHEST:
        raise ValueError(f"Rays cannot go from near {near} to far {far}; 0 <= near < far <= {_FARTHEST:g} is needed.")
    if len(background) != 3 or not all(type(v) in (int, float) and 0.0 <= v <= 1.0 for v in background):
        raise ValueError(f"The background is {str(background)[:60]}; three numbers from 0 to 1 are needed.")
    _check_camera(camera)


def check_box(aabb: Tensor) -> None:
    """Refuse a box (2, 3) that is empty, too large, or too thin for where it lies.

    Raises:
        ValueError: See above.
    """
    if aabb.shape != (2, 3) or not bool(torch.isfinite(aabb).all()):
        raise ValueError(
            f"The scene's box is {str(aabb.tolist())[:80]}; two corners of three finite numbers are needed."
        )
    most, thinnest = float(aabb.abs().max()), float((aabb[1] - aabb[0]).min())
    if most > LARGEST or not thinnest > _THINNEST * most:
        raise ValueError(
            f"The scene's box reaches to {most:g} and is {thinnest:g} thin; coordinates up to {LARGEST:g} are allowed, "
            f"and a width above {_THINNEST:g} of them. Give the scene another unit or origin."
        )


def _check_camera(camera: Camera) -> None:
    """Refuse impossible poses, focal lengths and lenses."""
    rotation, place = camera.c2w[:, :, :3].double(), camera.c2w[:, :, 3]
    if not bool(torch.isfinite(place).all()) or float(place.abs().max()) > LARGEST:
        raise ValueError(f"A camera stands at {_worst(place):g}; coordinates up to {LARGEST:g} are allowed.")
    off = (rotation.transpose(1, 2) @ rotation - torch.eye(3, dtype=torch.float64, device=rotation.device)).abs()
    if not float(off.max()) <= _RIGID:
        raise ValueError(f"A pose is no rotation and shift: its axes deviate by {float(off.max()):.3g} from unit axes.")
    size = torch.tensor([camera.width, camera.height], device=rotation.device)
    focal = camera.intrinsics[:, :2] / size
    if not bool(((focal >= _FOCAL[0]) & (focal <= _FOCAL[1])).all()):
        raise ValueError(
            f"Focal lengths are {_FOCAL[0]:g} to {_FOCAL[1]:g} widths of the image, found {focal[0].tolist()}."
        )
    if not bool((camera.intrinsics[:, 2:].abs() <= LARGEST).all()) or not bool(
        (camera.distortion.abs() <= _LENS).all()
    ):
        raise ValueError(
            f"The principal point or the lens is impossible: {camera.intrinsics[0].tolist()}, "
            f"{camera.distortion[0].tolist()}."
        )


def _worst(values: Tensor) -> float:
    worst = float(values.abs().max())
    return math.inf if math.isnan(worst) else worst
