"""Frames of a film on disk while it is being rendered, so that a killed run need not render them again."""

import shutil
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nerfcomp.callbacks.media import Map, Picture
from nerfcomp.files import atomic_write


class Frame(NamedTuple):
    """One frame: rgb (H, W, 3) uint8; composited distance and opacity (H, W) float16."""

    rgb: Picture
    depth: Map
    opacity: Map


class FrameStore:
    """A folder of frames, each a file that is complete or absent.

    Args:
        folder: Made when the first frame is saved.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, index: int) -> Path:
        """File of a frame."""
        return self.folder / f"{index:05d}.npz"

    def save(self, index: int, frame: Frame) -> None:
        """Write a frame."""
        with atomic_write(self.path(index)) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, **frame._asdict())

    def load(self, index: int, height: int, width: int) -> Frame | None:
        """Read a frame; None when there is no good one of this size."""
        try:
            with np.load(self.path(index), allow_pickle=False) as arrays:
                frame = Frame(arrays["rgb"], arrays["depth"], arrays["opacity"])
        except (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error):
            return None
        shapes = tuple(part.shape for part in frame)
        return frame if shapes == ((height, width, 3), (height, width), (height, width)) else None


def discard(path: Path) -> None:
    """Delete a folder of frames or a file that a killed process left unfinished."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
