"""Words on pictures: a title, what each part shows, and a bar that says what colours mean.

Notation: pictures are (H, W, 3) uint8 arrays.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from nerfcomp.callbacks.media import Picture, color_map

_LINE, _BAR, _GAP = 16, 10, 4  # rows of a line of text, columns of a colour bar and of white around it
_SIZE = 11  # of the letters
_LEAST = 120  # columns that a part is enlarged to, so that words have room


class Part(NamedTuple):
    """One picture of a row.

    Attributes:
        picture: (H, W, 3).
        label: What it shows.
        colors: Name of the colour map of what it shows, for a bar at its side.
    """

    picture: Picture
    label: str
    colors: str | None = None


def captioned(title: str, parts: Sequence[Part]) -> Picture:
    """Parts of one height side by side, a label above each and the title above all.

    Args:
        title: One line.
        parts: At least one; pixels of small ones are repeated.

    Returns:
        (H, W, 3); the pixels of the first part begin in row ``2 * 16`` and column 0.
    """
    times = -(-_LEAST // min(part.picture.shape[1] for part in parts))
    columns = [_with_label(part, times) for part in parts]
    row: Picture = np.concatenate(columns, axis=1)
    return np.concatenate([_text(title, row.shape[1]), row])


def _with_label(part: Part, times: int) -> Picture:
    picture = part.picture.repeat(times, axis=0).repeat(times, axis=1)
    if part.colors is not None:
        height = len(picture)
        ramp = color_map(np.linspace(1, 0, height)[:, None].repeat(_BAR, axis=1), part.colors)
        gap = np.full((height, _GAP, 3), 255, np.uint8)
        picture = np.concatenate([picture, gap, ramp, gap], axis=1)
    return np.concatenate([_text(part.label, picture.shape[1]), picture])


def _text(words: str, width: int) -> Picture:
    """One line of black on white; what does not fit is cut."""
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("RGB", (width, _LINE), "white")
    ImageDraw.Draw(image).text((2, 1), words, "black", ImageFont.load_default(_SIZE))
    return np.asarray(image)
