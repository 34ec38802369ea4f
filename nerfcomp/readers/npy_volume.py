"""Volumes of numpy."""

from pathlib import Path
from typing import IO, Any

import numpy as np

from nerfcomp.errors import VolumeError
from nerfcomp.readers.volume import Volume
from nerfcomp.readers.volume_checks import (
    AXES,
    Triple,
    as_volume,
    check_bytes,
    check_file,
    checked_dtype,
    checked_shape,
)


class NpyVolume:
    """Read a ``.npy``, memory-mapped.

    Args:
        path: The file.
        axes: Names of the array's axes, first to last.
        spacing: Distance of voxels along x, y and z.
        origin: Position of voxel (0, 0, 0).
    """

    def __init__(
        self, path: Path, axes: str = AXES, spacing: Triple | None = None, origin: Triple | None = None
    ) -> None:
        self.path = path
        self.axes = axes
        self.spacing = spacing
        self.origin = origin

    def read(self) -> Volume:
        """Read the volume; see `VolumeReader`."""
        check_file(self.path)
        with open(self.path, "rb") as file:
            shape, fortran, dtype = self._header(file)
            start = file.tell()
        checked_dtype(dtype, self.path)
        check_bytes(self.path.stat().st_size - start, shape, dtype, self.path)
        checked_shape(shape, self.path)
        stored = shape[::-1] if fortran else shape
        mapped: np.memmap[Any, Any] = np.memmap(self.path, dtype, "r", start, stored)
        values = mapped.transpose() if fortran else mapped
        return as_volume(values, self.path, self.axes, self.spacing, self.origin, self.path.stem)

    def _header(self, file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
        """Read shape, order and type."""
        try:
            version = np.lib.format.read_magic(file)  # type: ignore[no-untyped-call]
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            header: tuple[tuple[int, ...], bool, np.dtype[Any]] = read(file)  # type: ignore[no-untyped-call]
        except (ValueError, OSError) as error:
            raise VolumeError(f"{self.path} is no .npy file: {error}") from error
        return header
