"""COLMAP's models on disk, binary and text: cameras with their lenses, images with their poses.

Binary files are little-endian, see COLMAP's documentation of its output format. Poses go from the world to the camera,
whose axes are x right, y down, z ahead; quaternions are (w, x, y, z). Points are not read.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from nerfcomp.errors import SceneError

_MODELS = {  # by number: name, what its parameters mean
    0: ("SIMPLE_PINHOLE", "f cx cy"),
    1: ("PINHOLE", "fl_x fl_y cx cy"),
    2: ("SIMPLE_RADIAL", "f cx cy k1"),
    3: ("RADIAL", "f cx cy k1 k2"),
    4: ("OPENCV", "fl_x fl_y cx cy k1 k2 p1 p2"),
    5: ("OPENCV_FISHEYE", "fl_x fl_y cx cy k1 k2 k3 k4"),
    6: ("FULL_OPENCV", "fl_x fl_y cx cy k1 k2 p1 p2 k3 k4 k5 k6"),
    7: ("FOV", "fl_x fl_y cx cy omega"),
    8: ("SIMPLE_RADIAL_FISHEYE", "f cx cy k1"),
    9: ("RADIAL_FISHEYE", "f cx cy k1 k2"),
    10: ("THIN_PRISM_FISHEYE", "fl_x fl_y cx cy k1 k2 p1 p2 k3 k4 sx1 sy1"),
}
_BY_NAME = {name: number for number, (name, _) in _MODELS.items()}
_UNREAD = ("FOV",)  # whose distortion has no name in a transforms file
_LONGEST_NAME = 4096


class ColmapCamera(NamedTuple):
    """A camera: name of its model, size in pixels, and parameters by the names of a transforms file."""

    model: str
    width: int
    height: int
    values: dict[str, float]


class ColmapImage(NamedTuple):
    """An image that was placed: its name, its camera, quaternion (w, x, y, z) and translation from the world to it."""

    name: str
    camera: int
    rotation: tuple[float, ...]
    translation: tuple[float, ...]


class ColmapModel(NamedTuple):
    """A model: its folder, cameras by number, images in the order of their names."""

    folder: Path
    cameras: dict[int, ColmapCamera]
    images: tuple[ColmapImage, ...]


def find_models(root: Path) -> list[Path]:
    """Folders of models in a scene's folder, wherever COLMAP or nerfstudio have put them."""
    places = [root, root / "sparse", root / "colmap" / "sparse"]
    inner = [path for place in places[1:] if place.is_dir() for path in sorted(place.iterdir()) if path.is_dir()]
    return [
        place for place in (*places, *inner) if any((place / f"images.{kind}").is_file() for kind in ("bin", "txt"))
    ]


def largest_model(root: Path) -> ColmapModel:
    """The model of a scene's folder that has placed most images.

    Args:
        root: The scene's folder, or that of a model.

    Raises:
        SceneError: There is none, or one is damaged.
    """
    models = [read_model(folder) for folder in find_models(root)]
    if not models:
        raise SceneError(
            f"{root} has no model of COLMAP: no images.bin, images.txt there, in sparse, sparse/0 or colmap/sparse/0. "
            "`compress.py poses` makes one from photographs."
        )
    return max(models, key=lambda model: len(model.images))


def read_model(folder: Path) -> ColmapModel:
    """Read a model; the binary files where both kinds are there.

    Raises:
        SceneError: A file is missing or damaged.
    """
    binary = (folder / "images.bin").is_file()
    source = folder / ("images.bin" if binary else "images.txt")
    cameras = folder / ("cameras.bin" if binary else "cameras.txt")
    try:
        found = dict(_binary_cameras(cameras.read_bytes()) if binary else _text_cameras(cameras.read_text()))
        images = tuple(_binary_images(source.read_bytes()) if binary else _text_images(source.read_text()))
    except FileNotFoundError as error:
        raise SceneError(f"no file {cameras}, which belongs to {source}. Copy the whole model.") from error
    except (struct.error, ValueError, IndexError, KeyError, OverflowError) as error:
        raise SceneError(f"{folder} is no whole model of COLMAP ({error}). Copy or make it again.") from error
    strangers = [image.name for image in images if image.camera not in found]
    if strangers:
        raise SceneError(f"{source}: {strangers[0]} was taken with a camera that {cameras} does not have.")
    return ColmapModel(folder, found, tuple(sorted(images, key=lambda image: image.name)))


def _camera(number: int, width: int, height: int, values: tuple[float, ...]) -> ColmapCamera:
    """Name parameters as transforms files do."""
    name, meanings = _MODELS[number]
    if name in _UNREAD:
        raise ValueError(f"its camera model {name} is not supported; undistort the images with COLMAP first")
    named = dict(zip(meanings.split(), values, strict=True))
    if "f" in named:
        named["fl_x"] = named["fl_y"] = named.pop("f")
    return ColmapCamera(name, width, height, named)


def _binary_cameras(data: bytes) -> Iterator[tuple[int, ColmapCamera]]:
    (count,), place = struct.unpack_from("<Q", data), 8
    for _ in range(count):
        number, model, width, height = struct.unpack_from("<IiQQ", data, place)
        place += 24
        values = f"<{len(_MODELS[model][1].split())}d"
        yield number, _camera(model, width, height, struct.unpack_from(values, data, place))
        place += struct.calcsize(values)


def _binary_images(data: bytes) -> Iterator[ColmapImage]:
    (count,), place = struct.unpack_from("<Q", data), 8
    for _ in range(count):
        _, *pose, camera = struct.unpack_from("<I7dI", data, place)
        place += 64
        end = data.index(b"\0", place, place + _LONGEST_NAME)
        name = data[place:end].decode()
        (points,) = struct.unpack_from("<Q", data, end + 1)
        place = end + 9 + 24 * points
        if place > len(data):
            raise ValueError(f"images.bin ends within {name}")
        yield ColmapImage(name, camera, tuple(pose[:4]), tuple(pose[4:]))


def _lines(text: str) -> Iterator[str]:
    return (line for line in text.splitlines() if not line.startswith("#"))


def _text_cameras(text: str) -> Iterator[tuple[int, ColmapCamera]]:
    for line in _lines(text):
        if words := line.split():
            size = int(words[2]), int(words[3])
            yield int(words[0]), _camera(_BY_NAME[words[1]], *size, tuple(map(float, words[4:])))


def _text_images(text: str) -> Iterator[ColmapImage]:
    lines = list(_lines(text))
    for line in lines[::2]:  # every other line lists points, perhaps none
        if words := line.split(maxsplit=9):
            pose = tuple(map(float, words[1:8]))
            yield ColmapImage(words[9], int(words[8]), pose[:4], pose[4:])
