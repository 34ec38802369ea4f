"""NRRD volumes: header and values in one file, or a ``.nhdr`` beside its values."""

import bz2
import gzip
import io
import math
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from nerfcomp.errors import VolumeError
from nerfcomp.readers.volume import Volume
from nerfcomp.readers.volume_checks import (
    Triple,
    as_volume,
    check_bytes,
    check_file,
    check_fits,
    checked_dtype,
    checked_shape,
    load_extra,
)

TYPES = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": ("longlong", "long long", "long long int", "signed long long", "int64", "int64_t"),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "f4": ("float",),
    "f8": ("double",),
}
_LONGEST_HEADER = 2**20
PACKED: dict[str, Callable[..., Any]] = {"gzip": gzip.open, "gz": gzip.open, "bzip2": bz2.open, "bz2": bz2.open}


class NrrdVolume:
    """Read a ``.nrrd`` or ``.nhdr``; memory-mapped where its values are not compressed.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> Volume:
        """Read the volume; see `VolumeReader`."""
        check_file(self.path)
        nrrd = load_extra("nrrd", self.path)
        try:
            with open(self.path, "rb") as file:
                text = io.BytesIO(file.read(_LONGEST_HEADER))
            header, start = nrrd.read_header(text), text.tell()
        except (nrrd.NRRDError, ValueError, IndexError, KeyError, TypeError, OverflowError) as error:
            raise VolumeError(f"{self.path} has no header of NRRD: {str(error)[:200]}") from error
        dtype, shape = self._stored_type(header), tuple(int(size) for size in header.get("sizes", ()))
        if len(shape) != header.get("dimension", len(shape)):
            raise VolumeError(f"{self.path} says {header['dimension']} dimensions and {len(shape)} sizes.")
        checked_shape(shape, self.path)
        values = self._values(header, start, dtype, shape)
        sizes = [axis for axis, size in enumerate(shape) if size > 1]
        return as_volume(
            values, self.path, "zyx", _spacing(header, sizes, self.path), _origin(header), self._name(header)
        )

    def _name(self, header: Mapping[str, Any]) -> str:
        return str(header.get("content") or self.path.stem)

    def _stored_type(self, header: Mapping[str, Any]) -> np.dtype[Any]:
        """The type with its byte order."""
        code = next((code for code, names in TYPES.items() if header.get("type") in names), None)
        if code is None:
            raise VolumeError(f"{self.path} holds values of type {header.get('type')!r}; integers and floats are read.")
        dtype = checked_dtype(code, self.path)
        if dtype.itemsize > 1 and header.get("endian") not in ("little", "big"):
            raise VolumeError(f"{self.path} does not say whether its {dtype} are little or big endian.")
        return dtype.newbyteorder(">" if header.get("endian") == "big" else "<")

    def _values(
        self, header: Mapping[str, Any], start: int, dtype: np.dtype[Any], shape: tuple[int, ...]
    ) -> NDArray[Any]:
        """(Z, Y, X) values: the first axis of NRRD runs fastest."""
        path, encoding = self.path, str(header.get("encoding", "")).lower()
        other = header.get("data file", header.get("datafile"))
        if other is not None:
            path, start = self._beside(str(other)), 0
        if header.get("line skip", 0) or header.get("byte skip", 0):
            raise VolumeError(f"{self.path} skips lines or bytes before its values; write it again without.")
        if encoding == "raw":
            check_bytes(path.stat().st_size - start, shape, dtype, path)
            mapped: np.memmap[Any, Any] = np.memmap(path, dtype, "r", start, shape[::-1])
            return mapped
        if encoding not in PACKED:
            raise VolumeError(f"{self.path} is encoded as {encoding!r}; raw, gzip and bzip2 are read.")
        check_fits(shape, dtype, self.path)
        with open(path, "rb") as file:
            file.seek(start)
            return np.frombuffer(self._expand(file, encoding, shape, dtype), dtype).reshape(shape[::-1])

    def _beside(self, name: str) -> Path:
        """The file with the values, which a header of unknown origin may not look for anywhere else."""
        path, folder = (self.path.parent / name).resolve(), self.path.parent.resolve()
        if not path.is_relative_to(folder):
            raise VolumeError(f"{self.path} names values outside its folder, {name[:200]!r}; put them beside it.")
        check_file(path)
        if not path.is_file():
            raise VolumeError(f"{self.path} names values in {name[:200]!r}, which is no file.")
        return path

    def _expand(self, file: IO[bytes], encoding: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> bytes:
        """Expand as many bytes as the header speaks of, and one more to see whether there are too many."""
        needed = math.prod(shape) * dtype.itemsize
        try:
            with PACKED[encoding](file, "rb") as stream:
                data = bytes(stream.read(needed + 1))
        except (OSError, EOFError, zlib.error) as error:
            raise VolumeError(f"{self.path} is damaged or cut off: {error}") from error
        check_bytes(len(data), shape, dtype, self.path)
        return data


def _spacing(header: Mapping[str, Any], axes: list[int], path: Path) -> Triple | None:
    """Distances along the axes that are longer than one voxel."""
    if header.get("space directions") is not None:
        steps = np.linalg.norm(np.array(header["space directions"], float), axis=-1).reshape(-1)
    elif header.get("spacings") is not None:
        steps = np.array(header["spacings"], float).reshape(-1)
    else:
        return None
    if len(steps) <= max(axes[:3]):
        raise VolumeError(f"{path} says the spacing of {len(steps)} axes and has {max(axes) + 1} or more.")
    x, y, z = (abs(float(steps[axis])) for axis in axes[:3])
    return (x, y, z) if np.isfinite([x, y, z]).all() else None


def _origin(header: Mapping[str, Any]) -> Triple | None:
    """Where the first voxel is."""
    origin = header.get("space origin")
    if origin is None or len(origin) != 3:
        return None
    return float(origin[0]), float(origin[1]), float(origin[2])
