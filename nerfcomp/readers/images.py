"""Image files into one uint8 tensor: decoded in threads, checked before and while they are decoded.

Colours stay as they are stored (sRGB); EXIF orientation is ignored, as poses refer to pixels as they are stored.
"""

import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from nerfcomp.errors import SceneError

logger = logging.getLogger(__name__)

FORMATS = ("PNG", "JPEG", "WEBP")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".PNG", ".JPG", ".JPEG")
MAX_PIXELS = 2**27  # of one image: twice the largest common sensor, half a gigabyte decoded
_MOST_VIEWED = 2**32  # pixels of all views of a split, 16 GiB
_EIGHT_BIT = ("RGB", "RGBA", "L", "LA", "P", "PA", "1")
_DARK = 127  # brightest value of a mask that means nothing is there
_THREADS = min(8, os.cpu_count() or 1)


class Pixels(NamedTuple):
    """Decoded images.

    Attributes:
        rgba: (C, H, W, 4) uint8, straight alpha.
        has_alpha: Some file has an alpha channel or a transparent colour.
    """

    rgba: Tensor
    has_alpha: bool


class ImageHeader(NamedTuple):
    """What a file says about itself before it is decoded.

    Attributes:
        height: Rows.
        width: Columns.
        has_alpha: It has an alpha channel or a transparent colour.
        wide: It stores 16 bits per channel.
    """

    height: int
    width: int
    has_alpha: bool
    wide: bool


def find_image(path: Path) -> Path:
    """Find the file that a scene description means, which may have left out the suffix.

    Args:
        path: As described.

    Returns:
        A file that exists.

    Raises:
        SceneError: If there is none.
    """
    found = existing_image(path)
    if found is None:
        raise SceneError(
            f"no image {path}, neither under this name nor with one of {', '.join(SUFFIXES[:4])}. Restore the file or "
            "take its frame out of the scene description."
        )
    return found


def existing_image(path: Path) -> Path | None:
    """As `find_image`, but None where there is none."""
    for candidate in (path, *(Path(f"{path}{suffix}") for suffix in SUFFIXES)):
        try:
            if candidate.is_file():
                return candidate
        except OSError as error:
            raise SceneError(f"{candidate} cannot be looked up ({error}). Check its frame's path.") from error
    return None


def read_header(path: Path) -> ImageHeader:
    """Read size and kind of an image without decoding it.

    Args:
        path: The file.

    Returns:
        Its header.

    Raises:
        SceneError: If it is no image of a known format, too large, or of a pixel type that has no faithful 8-bit form.
    """
    with _opened(path) as image:
        if image.width * image.height > MAX_PIXELS:
            raise SceneError(
                f"{path} claims {image.width}x{image.height} pixels; at most {MAX_PIXELS} are decoded. Scale it down."
            )
        wide = image.mode.startswith("I") or any("16" in str(tile[3]) for tile in getattr(image, "tile", ()))
        if image.mode not in _EIGHT_BIT and not image.mode.startswith("I"):
            raise SceneError(
                f"{path} has pixels of type {image.mode!r}; RGB, RGBA, grey and palette images of 8 or 16 bits per "
                "channel are read. Convert it to one of them."
            )
        has_alpha = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
        return ImageHeader(image.height, image.width, has_alpha, wide)


def load_images(
    files: Sequence[Path], height: int, width: int, downscale: int = 1, masks: Sequence[Path] | None = None
) -> Pixels:
    """Decode images of one size.

    Args:
        files: C files.
        height: Rows that every file must have.
        width: Columns that every file must have.
        downscale: Average blocks of this many pixels squared; rows and columns that fill no block are cut off at the
            bottom and the right.
        masks: C files of the same size whose bright pixels (above 127) are opaque, all others transparent.

    Returns:
        C images of ``height // downscale`` by ``width // downscale`` pixels.

    Raises:
        SceneError: If a file is missing, damaged, too large, of another size or of an unknown pixel type.
        ValueError: If ``downscale`` is less than 1 or leaves no pixel.
    """
    if not 1 <= downscale <= min(height, width):
        raise ValueError(f"images of {width}x{height} cannot be scaled down by {downscale}: choose 1 or a little more")
    total = len(files) * (height // downscale) * (width // downscale)
    if total > _MOST_VIEWED:
        raise SceneError(
            f"{len(files)} images of {width}x{height} pixels, scaled down by {downscale}, are {total:,} pixels; at "
            f"most {_MOST_VIEWED:,} are loaded. Scale them down or take some out."
        )
    headers = [read_header(file) for file in files]
    every = (*files, *(masks or ()))
    for file, header in zip(every, [*headers, *(read_header(file) for file in masks or ())]):
        if (header.height, header.width) != (height, width):
            raise SceneError(
                f"{file} has {header.width}x{header.height} pixels where {width}x{height} are expected. All images of "
                "a scene must have the one size that its description or its first image gives."
            )
    wide = [file for file, header in zip(files, headers) if header.wide]
    if wide:
        logger.info("Images with 16 bits per channel are reduced to 8: %s and %d more.", wide[0], len(wide) - 1)
    rgba = np.empty((len(files), height // downscale, width // downscale, 4), np.uint8)

    def decode(view: int) -> None:
        pixels = decode_image(files[view], height, width)
        if masks is not None:
            pixels = with_mask(pixels, decode_image(masks[view], height, width))
        rgba[view] = area_average(pixels, downscale)

    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(decode, range(len(files))))
    return Pixels(torch.from_numpy(rgba), masks is not None or any(header.has_alpha for header in headers))


def with_mask(rgba: NDArray[np.uint8], mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Make the pixels of an image transparent where a mask is dark.

    Args:
        rgba: (H, W, 4).
        mask: (H, W, 4), of which the brightest channel counts.

    Returns:
        (H, W, 4), alpha 0 or 255.
    """
    opaque = np.where(mask[..., :3].max(-1, keepdims=True) > _DARK, 255, 0).astype(np.uint8)
    return np.concatenate([rgba[..., :3], opaque], -1)


def decode_image(path: Path, height: int, width: int) -> NDArray[np.uint8]:
    """Decode one image.

    Args:
        path: A file whose header was accepted by :func:`read_header`.
        height: Rows that it must have.
        width: Columns that it must have.

    Returns:
        (height, width, 4) RGBA, straight alpha.

    Raises:
        SceneError: If the file is damaged or has changed since its header was read.
    """
    with _opened(path) as image:
        if (image.height, image.width) != (height, width):
            raise SceneError(f"{path} changed while it was read. Start again when nothing writes to the scene.")
        grey = image.mode.startswith("I")
        try:
            pixels = np.asarray(image if grey else image.convert("RGBA"))
        except Exception as error:  # decoders raise whatever the damage leads to: OSError, SyntaxError, struct.error...
            raise SceneError(f"{path} is damaged and cannot be decoded ({error}). Restore the file.") from error
    return _grey_to_rgba(path, pixels) if grey else pixels


def area_average(rgba: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """Average blocks of pixels, colours weighted by their alpha so that transparent pixels do not bleed.

    Args:
        rgba: (H, W, 4) straight alpha.
        factor: Side of a block.

    Returns:
        (H // factor, W // factor, 4) straight alpha, rounded to nearest.
    """
    if factor == 1:
        return rgba
    height, width = rgba.shape[0] // factor, rgba.shape[1] // factor
    color = np.zeros((height, width, 3), np.uint32)
    alpha = np.zeros((height, width, 1), np.uint32)
    for row in range(factor):
        for column in range(factor):
            part = rgba[row : height * factor : factor, column : width * factor : factor].astype(np.uint16)
            color += part[..., :3] * part[..., 3:]
            alpha += part[..., 3:]
    straight = (color + alpha // 2) // np.maximum(alpha, 1)
    average: NDArray[np.uint8] = np.concatenate([straight, (alpha + factor**2 // 2) // factor**2], -1).astype(np.uint8)
    return average


def _grey_to_rgba(path: Path, values: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Reduce 16-bit grey values to 8 bits and repeat them."""
    wide = values.astype(np.int64)
    if wide.min() < 0 or wide.max() > 65535:
        raise SceneError(f"{path} has grey values from {wide.min()} to {wide.max()}; 0 to 65535 can be read.")
    grey: NDArray[np.uint8] = ((wide + 128) // 257).astype(np.uint8)
    return np.stack([grey, grey, grey, np.full_like(grey, 255)], -1)


def _opened(path: Path) -> Image.Image:
    """Open an image file lazily."""
    try:
        return Image.open(path, formats=FORMATS)
    except FileNotFoundError as error:
        raise SceneError(
            f"no image {path}. Restore the file or take its frame out of the scene description."
        ) from error
    except Exception as error:  # headers of damaged files raise more than Pillow promises
        raise SceneError(
            f"{path} is not a readable {', '.join(FORMATS)} image ({error}). Convert or restore it."
        ) from error
