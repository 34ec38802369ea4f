"""Bare values without a header, of which everything must be said."""

from pathlib import Path
from typing import Any, Literal

import numpy as np

from nerfcomp.errors import VolumeError
from nerfcomp.readers.volume import Volume
from nerfcomp.readers.volume_checks import Triple, as_volume, check_bytes, check_file, checked_dtype, checked_shape

ByteOrder = Literal["little", "big"]


class RawVolume:
    """Read bare values, memory-mapped. Nothing about them is guessed.

    Args:
        path: The file.
        dtype: Type of a value, as in ``uint8`` or ``float32``.
        shape: Sizes along x, y and z.
        axes: Order of the axes in the file, slowest first: ``zyx`` where x runs fastest, as most simulations and
            scanners write, ``xyz`` where z does, as numpy writes.
        byte_order: Of values of more than one byte.
        offset: Bytes before the first value.
        spacing: Distance of voxels along x, y and z.
        origin: Position of voxel (0, 0, 0).
    """

    def __init__(
        self,
        path: Path,
        dtype: str,
        shape: tuple[int, int, int],
        axes: str,
        byte_order: ByteOrder | None = None,
        offset: int = 0,
        spacing: Triple | None = None,
        origin: Triple | None = None,
    ) -> None:
        self.path = path
        self.dtype = dtype
        self.shape = shape
        self.axes = axes
        self.byte_order = byte_order
        self.offset = offset
        self.spacing = spacing
        self.origin = origin

    def read(self) -> Volume:
        """Read the volume; see `VolumeReader`."""
        check_file(self.path)
        dtype = self._stored_type()
        sizes = dict(zip("xyz", checked_shape(self.shape, self.path), strict=True))
        if sorted(self.axes) != sorted(sizes):
            raise VolumeError(f"{self.path}: axes {self.axes!r} must name x, y and z once each, slowest first.")
        if self.offset < 0:
            raise VolumeError(f"{self.path}: the offset {self.offset} must not be negative.")
        shape = tuple(sizes[axis] for axis in self.axes)
        check_bytes(self.path.stat().st_size - self.offset, shape, dtype, self.path)
        values: np.memmap[Any, Any] = np.memmap(self.path, dtype, "r", self.offset, shape)
        return as_volume(values, self.path, self.axes, self.spacing, self.origin, self.path.stem)

    def _stored_type(self) -> np.dtype[Any]:
        """The type with its byte order."""
        dtype = checked_dtype(self.dtype, self.path)
        if dtype.itemsize > 1 and self.byte_order is None:
            raise VolumeError(f"{self.path}: say the byte_order of its {dtype}, little or big; it cannot be guessed.")
        return dtype.newbyteorder("<" if self.byte_order != "big" else ">")
