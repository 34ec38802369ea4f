"""Captures whose poses COLMAP has found."""

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nerfcomp.errors import SceneError
from nerfcomp.readers.alignment import check_pose
from nerfcomp.readers.colmap_files import ColmapImage, ColmapModel, largest_model
from nerfcomp.readers.frames import Frames, with_images
from nerfcomp.readers.transforms import TransformsReader


class COLMAPReader(TransformsReader):
    """Read a model of COLMAP, binary or text, with its images.

    The model is looked for in the folder itself, in ``sparse``, ``sparse/0``, ... and ``colmap/sparse/0``, ...; of
    several the one with most images counts. All images need one size. Lens distortion stays in the camera.

    The scene is turned upright, centred and scaled as `TransformsReader` does it; the cube likewise. Every
    ``test_every``-th view in the order of names, beginning with the first, is a test view.

    Args:
        root: Folder of the scene.
        downscale: Average blocks of this many pixels squared.
        images: Folder with the images, relative to ``root``.
        test_every: Every n-th view is held out for test; 0 for none.
        aabb_scale: See `TransformsReader`.
        val_hold: Hold every n-th training view back for validation; 0 for none. By default one in eight, eight at
            most.
        pixel_centers: Send rays through the centres of pixels, otherwise through their corners.

    Raises:
        ValueError: If a number is out of range.
    """

    def __init__(
        self,
        root: str | Path,
        downscale: int = 1,
        images: str = "images",
        test_every: int = 8,
        aabb_scale: float | None = None,
        val_hold: int | None = None,
        pixel_centers: bool = True,
    ) -> None:
        super().__init__(root, downscale, True, aabb_scale, 0.0, 0, val_hold, pixel_centers, test_every)
        self.images = images

    def _frames(self) -> Frames:
        """The model as frames of a transforms file."""
        frames = with_images(model_frames(largest_model(self.root), self.root / self.images))
        if not frames.images:
            raise SceneError(f"The model in {frames.source} has placed no image. Take more photographs that overlap.")
        self._report(frames)
        return frames


def model_frames(model: ColmapModel, folder: Path) -> Frames:
    """Say of a model what a transforms file would.

    Args:
        model: As COLMAP wrote it.
        folder: Where its images are.

    Raises:
        SceneError: A pose is unusable.
    """
    entries = tuple(_entry(model, image) for image in model.images)
    poses = [check_pose(camera_to_world(image), f"{model.folder}, image {image.name}") for image in model.images]
    c2w = torch.stack(poses) if poses else torch.empty(0, 3, 4, dtype=torch.float64)
    return Frames(model.folder, {}, entries, tuple(folder / image.name for image in model.images), c2w)


def _entry(model: ColmapModel, image: ColmapImage) -> dict[str, Any]:
    camera = model.cameras[image.camera]
    size = {"w": camera.width, "h": camera.height}
    return {"file_path": image.name, "camera_model": camera.model, **size, **camera.values}


def camera_to_world(image: ColmapImage) -> Tensor:
    """(4, 4) float64 pose in this package's convention: x right, y up, z backwards.

    >>> camera_to_world(ColmapImage("a.png", 1, (1.0, 0.0, 0.0, 0.0), (0.0, 0.0, 5.0)))[:3].tolist()
    [[1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 0.0], [0.0, 0.0, -1.0, -5.0]]
    """
    w, x, y, z = (torch.tensor(image.rotation, dtype=torch.float64) / _length(image.rotation)).tolist()
    rotation = torch.tensor(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ],
        dtype=torch.float64,
    )
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3] = rotation.T * torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64)
    pose[:3, 3] = -rotation.T @ torch.tensor(image.translation, dtype=torch.float64)
    return pose + 0.0  # no negative zeros


def _length(values: tuple[float, ...]) -> float:
    return max(math.hypot(*values), 1e-12)
