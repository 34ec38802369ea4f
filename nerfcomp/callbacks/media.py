"""Tensors to pictures, pictures to films.

Notation: pictures are (H, W, 3) uint8 arrays, maps are (H, W) float arrays.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from torch import Tensor

from nerfcomp.errors import MissingExtraError
from nerfcomp.files import atomic_write

Picture = npt.NDArray[np.uint8]
Map = npt.NDArray[np.floating]
_ENCODERS = 4  # threads of the encoder, whose number decides about its bytes
# x264 165 reads memory that it never wrote: with AVX-512, and where threads share a picture; its bytes then vary
_SAME_EVERYWHERE = {"x264-params": "cpu-independent=1"}


def to_picture(rgb: Tensor, height: int, width: int) -> Picture:
    """Round colours to 8 bits.

    Args:
        rgb: (H * W, 3), row-major; values outside [0, 1] are clamped.
        height: H.
        width: W.
    """
    rounded: Picture = (rgb.detach().float().clamp(0, 1) * 255).round().byte().cpu().numpy()
    return rounded.reshape(height, width, 3)


def to_map(values: Tensor, height: int, width: int) -> Map:
    """Reshape (H * W,) values to an (H, W) float32 array."""
    array: Map = values.detach().float().cpu().numpy()
    return array.reshape(height, width)


def color_map(values: Map, name: str = "viridis") -> Picture:
    """Colour an (H, W) map of values in [0, 1] with one of matplotlib's maps; values outside are clamped."""
    import matplotlib  # slow to import, and many runs never draw a picture

    table = (matplotlib.colormaps[name](np.arange(256))[:, :3] * 255).round().astype(np.uint8)
    index = (np.nan_to_num(values).clip(0, 1) * 255).round().astype(np.uint8)
    picture: Picture = table[index]
    return picture


def mean_depth(depth: Map, opacity: Map) -> Map:
    """Distance to what a ray hits: the composited depth leaves out what shines through, so divide by the opacity."""
    distance: Map = depth / np.maximum(opacity, 1e-3)
    return distance


def disparity(depth: Map, opacity: Map) -> Map:
    """1 / distance of what a ray hits, weighted by how much of it is hit; 0 where there is nothing.

    >>> disparity(np.array([[4.0, 1.0, 0.0]]), np.array([[1.0, 0.5, 0.0]])).tolist()
    [[0.25, 0.25, 0.0]]
    """
    inverse: Map = np.where(opacity > 0, opacity / np.maximum(mean_depth(depth, opacity), 1e-6), 0.0)
    return inverse


def depth_range(depth: Map, opacity: Map) -> tuple[float, float] | None:
    """Nearest and farthest distance, outliers left out, of the pixels that see something; None when none does."""
    seen = mean_depth(depth, opacity)[opacity > 0.5]
    if seen.size == 0:
        return None
    low, high = np.quantile(seen, [0.01, 0.99])
    return float(low), float(high)


def depth_picture(depth: Map, opacity: Map, limits: tuple[float, float] | None) -> Picture:
    """Colour distances from near (bright) to far (dark), empty pixels white.

    Args:
        depth: (H, W) composited distance.
        opacity: (H, W) in [0, 1].
        limits: Distances of the ends of the colour map.
    """
    low, high = limits or (0.0, 1.0)
    near = 1 - (mean_depth(depth, opacity) - low) / max(high - low, 1e-6)
    weight = opacity.clip(0, 1)[..., None]
    blended: Picture = (color_map(near) * weight + 255 * (1 - weight)).round().astype(np.uint8)
    return blended


def normal_picture(normals: Map, opacity: Map) -> Picture:
    """Colour directions: red, green and blue grow along x, y and z; empty pixels white.

    Args:
        normals: (H, W, 3), of any length above 0 where something is seen.
        opacity: (H, W) in [0, 1].

    >>> normal_picture(np.array([[[0.0, 0.0, 2.0], [0.0, 0.0, 0.0]]]), np.array([[1.0, 0.0]])).tolist()
    [[[128, 128, 255], [255, 255, 255]]]
    """
    unit = normals / np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-9)
    weight = opacity.clip(0, 1)[..., None]
    blended: Picture = ((unit + 1) * 127.5 * weight + 255 * (1 - weight)).round().astype(np.uint8)
    return blended


def write_mp4(path: str | Path, pictures: Iterable[Picture], fps: int) -> None:
    """Write a film that every player shows: H.264, 4:2:0. Odd sizes lose their last row or column.

    The same pictures give the same bytes, on however many processors of any kind.

    Args:
        path: Final name; nothing stands there until the film is complete.
        pictures: (H, W, 3) each, all of one size of at least 2x2.
        fps: Pictures per second.

    Raises:
        MissingExtraError: PyAV is not installed.
        OSError: The file cannot be written.
    """
    try:
        import av
    except ImportError as error:
        raise MissingExtraError("Videos need PyAV: pip install 'imageio[pyav]'.") from error
    with atomic_write(path) as temporary, av.open(str(temporary), "w") as film:
        stream = film.add_stream("libx264", rate=fps, options=_SAME_EVERYWHERE)
        stream.pix_fmt, stream.codec_context.thread_count = "yuv420p", _ENCODERS
        stream.codec_context.thread_type = "FRAME"
        for picture in pictures:
            height, width = (length // 2 * 2 for length in picture.shape[:2])
            if not stream.codec_context.is_open:
                stream.height, stream.width = height, width
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture[:height, :width]), format="rgb24")
            film.mux(stream.encode(frame))
        film.mux(stream.encode())
