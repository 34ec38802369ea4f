"""Captures as the app Polycam exports them raw: a folder of images and one JSON per image."""

from pathlib import Path
from typing import Any

import torch

from nerfcomp.errors import SceneError
from nerfcomp.readers.alignment import check_pose
from nerfcomp.readers.frames import Frames, number, read_json, with_images
from nerfcomp.readers.transforms import TransformsReader

_FOLDERS = (("corrected_cameras", "corrected_images"), ("cameras", "images"))  # the better poses first
_ROWS = (2, 0, 1)  # of the world's axes: y is up in the app's world, z in ours


class PolycamReader(TransformsReader):
    """Read a raw export of Polycam: ``keyframes/corrected_cameras`` (or ``cameras``) with its images.

    The scene is turned upright, centred and scaled as `TransformsReader` does it. Every ``test_every``-th view,
    beginning with the first, is a test view.

    Args:
        root: Folder with ``keyframes``.
        downscale: Average blocks of this many pixels squared.
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
        test_every: int = 8,
        aabb_scale: float | None = None,
        val_hold: int | None = None,
        pixel_centers: bool = True,
    ) -> None:
        super().__init__(root, downscale, True, aabb_scale, 0.0, 0, val_hold, pixel_centers, test_every)

    def _frames(self) -> Frames:
        """The cameras as frames of a transforms file."""
        inner = self.root / "keyframes"
        for cameras, images in _FOLDERS:
            if files := sorted((inner / cameras).glob("*.json")):
                frames = with_images(_read(files, inner / images))
                self._report(frames)
                return frames
        raise SceneError(
            f"{inner} has no cameras/*.json. Export the capture raw, in Polycam's developer mode, and unpack it whole."
        )


def _read(files: list[Path], images: Path) -> Frames:
    contents = [(file, read_json(file)) for file in files]
    entries = tuple(_entry(file, content) for file, content in contents)
    poses = torch.stack([check_pose(_pose(file, content), str(file)) for file, content in contents])
    return Frames(files[0].parent, {}, entries, tuple(images / file.stem for file in files), poses)


def _entry(file: Path, content: dict[str, Any]) -> dict[str, Any]:
    names = {"fl_x": "fx", "fl_y": "fy", "cx": "cx", "cy": "cy", "w": "width", "h": "height"}
    return {"file_path": file.stem, **{ours: number(content, theirs, str(file)) for ours, theirs in names.items()}}


def _pose(file: Path, content: dict[str, Any]) -> torch.Tensor:
    """(4, 4) camera to world."""
    found = [[number(content, f"t_{row}{column}", str(file)) for column in range(4)] for row in range(3)]
    missing = [f"t_{row}{column}" for row in range(3) for column in range(4) if found[row][column] is None]
    if missing:
        raise SceneError(f"{file} has no {missing[0]}; a pose has t_00 to t_23.")
    return torch.tensor([*(found[row] for row in _ROWS), [0.0, 0.0, 0.0, 1.0]], dtype=torch.float64)
