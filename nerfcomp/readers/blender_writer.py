"""Write scenes in the format of nerf_synthetic, which most NeRF systems read."""

import json
import logging
import math
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from nerfcomp.files import atomic_write
from nerfcomp.readers.scene import Scene, SceneReader, Split

_SPLITS: tuple[Split, ...] = ("train", "val", "test")
_PIXEL_TOLERANCE = 1e-3
logger = logging.getLogger(__name__)


def write_blender(reader: SceneReader, root: str | Path) -> tuple[Path, ...]:
    """Write all splits of a scene: ``transforms_SPLIT.json`` and RGBA images ``SPLIT/r_INDEX.png``.

    Existing files of the same names are replaced, each in one step and the transforms after their images.

    Args:
        reader: Where the scene comes from.
        root: Folder to write to; made when missing.

    Returns:
        The transforms files.

    Raises:
        ValueError: If the format cannot say what the cameras are: it knows one focal length for all views, the
            principal point in the middle, no lens distortion and no NDC.
        OSError: If the folder cannot be written.
    """
    return tuple(write_blender_split(reader.read(split), root) for split in _SPLITS)


def write_blender_split(scene: Scene, root: str | Path) -> Path:
    """Write one split, see :func:`write_blender`.

    Args:
        scene: The split with its images.
        root: Folder to write to; made when missing.

    Returns:
        The transforms file.

    Raises:
        ValueError: As for :func:`write_blender`.
        OSError: If the folder cannot be written.
    """
    root = Path(root)
    angle = _angle_x(scene)
    frames = []
    for view, (image, c2w) in enumerate(zip(scene.images, scene.camera.c2w, strict=True)):
        name = f"{scene.split}/r_{view}"
        with atomic_write(root / f"{name}.png") as path:
            Image.fromarray(image.numpy()).save(path)
        frames.append({"file_path": f"./{name}", "transform_matrix": _square(c2w)})
    transforms = root / f"transforms_{scene.split}.json"
    with atomic_write(transforms) as path:
        path.write_text(json.dumps({"camera_angle_x": angle, "frames": frames}, indent=2), encoding="utf-8")
    logger.info("wrote %d views to %s", len(frames), transforms)
    return transforms


def _square(c2w: Tensor) -> list[list[float]]:
    rows: list[list[float]] = torch.cat([c2w, c2w.new_tensor([[0.0, 0.0, 0.0, 1.0]])]).double().tolist()
    return rows


def _angle_x(scene: Scene) -> float:
    """Horizontal field of view in radians, if that describes the cameras."""
    camera = scene.camera
    fx, fy, cx, cy = camera.intrinsics.double().unbind(-1)
    deviations = torch.stack([fx - fx[0], fy - fx[0], cx - camera.width / 2, cy - camera.height / 2])
    if scene.ndc or camera.distortion.any() or deviations.abs().max() > _PIXEL_TOLERANCE:
        raise ValueError(
            f"the {scene.split} cameras differ in focal length, are off centre, distorted or in NDC; "
            "the Blender format holds only centred pinhole cameras of one focal length"
        )
    return 2 * math.atan(0.5 * camera.width / float(fx[0]))
