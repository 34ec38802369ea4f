"""Volumes of fV-SRN: ``.cvol`` of both versions, bare or in chained blocks of LZ4."""

import math
import struct
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nerfcomp.errors import VolumeError
from nerfcomp.readers.volume import Volume
from nerfcomp.readers.volume_checks import Triple, as_volume, check_bytes, check_file, checked_shape, choose, load_extra

TYPES = (np.dtype("<u1"), np.dtype("<u2"), np.dtype("<f4"))
BLOCK = 1 << 16  # bytes that a compressed block expands to, and that the next one may refer to
MOST_LZ4 = 255  # bytes that one compressed byte can expand to
_OLD = struct.Struct("<4s3Q3dIB7x")
_NEW = struct.Struct("<4si3fii4x")
_FEATURE = struct.Struct("<3Qii")
_SIZE = struct.Struct("<i")
_LONGEST_NAME = 1024


class _Feature(NamedTuple):
    """One of the volumes in a file; values start at ``start``, in the new version after those of the ones before."""

    name: str
    shape: tuple[int, int, int]
    channels: int
    dtype: np.dtype[Any]
    start: int


class CvolVolume:
    """Read a ``.cvol``: x runs fastest, mip level 0.

    Args:
        path: The file.
        dataset: Name of the feature, where there are several.
    """

    def __init__(self, path: Path, dataset: str | None = None) -> None:
        self.path = path
        self.dataset = dataset

    def read(self) -> Volume:
        """Read the volume; see `VolumeReader`."""
        check_file(self.path)
        data = self.path.read_bytes()
        try:
            return self._read(data)
        except struct.error as error:
            raise VolumeError(f"{self.path} ends in the middle of its header.") from error

    def _read(self, data: bytes) -> Volume:
        """Read either version."""
        if data[:4] == b"cvol":
            _, *numbers, kind, packed = _OLD.unpack_from(data)
            spacing = (numbers[3], numbers[4], numbers[5])
            feature = self._checked("density", numbers[:3], 1, kind, _OLD.size)
            values, end = self._values(data, feature, bool(packed), b"")
            self._check_end(end, data)
            return self._volume(feature, values, spacing)
        if data[:4] != b"CVOL":
            raise VolumeError(f"{self.path} is no .cvol file: it begins with {data[:4]!r}.")
        _, version, *world, count, flags = _NEW.unpack_from(data)
        if version != 1 or not 0 < count <= 1024:
            raise VolumeError(f"{self.path} says version {version} and {count} features; version 1 is known.")
        features = self._features(data, count, bool(flags & 1))
        name = choose(list(features), self.dataset, "feature", self.path)
        feature, values = features[name]
        x, y, z = (float(size) / cells for size, cells in zip(world, feature.shape, strict=True))
        return self._volume(feature, values, (x, y, z))

    def _volume(self, feature: _Feature, values: bytes, spacing: Triple) -> Volume:
        """Turn bytes into a volume."""
        if feature.channels != 1:
            raise VolumeError(f"{self.path}: {feature.name!r} has {feature.channels} channels; a volume has one.")
        array: NDArray[Any] = np.frombuffer(values, feature.dtype).reshape(feature.shape[::-1])
        volume = as_volume(array, self.path, "zyx", spacing, name=feature.name)
        return volume._replace(values=np.ascontiguousarray(volume.values))

    def _features(self, data: bytes, count: int, packed: bool) -> dict[str, tuple[_Feature, bytes]]:
        """All features of a new file; blocks of LZ4 refer to the ones before, so that all must be expanded."""
        position, history, features = _NEW.size, b"", dict[str, tuple[_Feature, bytes]]()
        for _ in range(count):
            (length,) = _SIZE.unpack_from(data, position)
            if not 0 <= length <= _LONGEST_NAME:
                raise VolumeError(f"{self.path}: a name of {length} characters cannot be.")
            start = position + _SIZE.size + length
            name = data[position + _SIZE.size : start].decode("utf-8", "replace")
            *sizes, channels, kind = _FEATURE.unpack_from(data, start)
            feature = self._checked(name, sizes, channels, kind, start + _FEATURE.size)
            values, position = self._values(data, feature, packed, history)
            history = values[-BLOCK:]
            features[name] = feature, values
        self._check_end(position, data)
        return features

    def _checked(self, name: str, sizes: list[int], channels: int, kind: int, start: int) -> _Feature:
        """Check what a header says."""
        if kind >= len(TYPES) or kind < 0 or not 0 < channels <= 64:
            raise VolumeError(f"{self.path}: type {kind} with {channels} channels is not known; types are 0, 1 and 2.")
        return _Feature(name, checked_shape(sizes, self.path), channels, TYPES[kind], start)

    def _values(self, data: bytes, feature: _Feature, packed: bool, history: bytes) -> tuple[bytes, int]:
        """Bytes of one feature and where they end in the file."""
        shape = (*feature.shape, feature.channels)
        needed, left = math.prod(shape) * feature.dtype.itemsize, len(data) - feature.start
        if not packed or needed > left * MOST_LZ4:
            check_bytes(min(needed, left), shape, feature.dtype, self.path)
            return data[feature.start : feature.start + needed], feature.start + needed
        return self._expand(data, feature.start, needed, history)

    def _expand(self, data: bytes, position: int, needed: int, history: bytes) -> tuple[bytes, int]:
        """Expand blocks of LZ4 until there are enough bytes; each may refer to the 64 KiB before it."""
        lz4 = load_extra("lz4.block", self.path)
        parts, count = list[bytes](), 0
        while count < needed:
            (size,) = _SIZE.unpack_from(data, position)
            position += _SIZE.size
            if not 0 < size <= len(data) - position:
                raise VolumeError(f"{self.path} is cut off: a block of {size} bytes begins at {position}.")
            most = min(BLOCK, needed - count)
            try:
                part = lz4.decompress(data[position : position + size], uncompressed_size=most, dict=history)
            except lz4.LZ4BlockError as error:
                raise VolumeError(f"{self.path} is damaged: the block at {position} cannot be expanded.") from error
            if not part:
                raise VolumeError(f"{self.path} is damaged: the block at {position} is empty.")
            history = (history + part)[-BLOCK:]
            parts.append(part)
            count += len(part)
            position += size
        return b"".join(parts), position

    def _check_end(self, end: int, data: bytes) -> None:
        """Stop when bytes are left over."""
        if end != len(data):
            raise VolumeError(f"{self.path} has {len(data) - end:,} bytes more than its header speaks of.")
