"""Renderings of several models side by side, with their differences."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from nerfcomp.files import atomic_write

GAIN = 10  # differences are shown this many times larger, about grey


def write_comparison(path: Path, pictures: Sequence[Path]) -> None:
    """Put pictures of one view side by side; below each, how it differs from the first, ten times larger about grey.

    Args:
        path: PNG to write.
        pictures: PNGs of the same size.
    """
    drawn = [np.asarray(Image.open(picture).convert("RGB"), dtype=np.int16) for picture in pictures]
    below = [(128 + GAIN * (picture - drawn[0])).clip(0, 255) for picture in drawn]
    rows = [np.concatenate(row, axis=1) for row in (drawn, below)]
    with atomic_write(path) as temporary:
        Image.fromarray(np.concatenate(rows).astype(np.uint8)).save(temporary, format="PNG")
