"""Volumes of NIfTI-1 and NIfTI-2."""

import gzip
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nerfcomp.errors import VolumeError
from nerfcomp.readers.volume import Volume
from nerfcomp.readers.volume_checks import as_volume, check_file, check_fits, checked_dtype, checked_shape, load_extra


class NiftiVolume:
    """Read a ``.nii``, memory-mapped, or a ``.nii.gz``.

    Values keep their stored type, unless the header scales them to other units: then they are floats in those units.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> Volume:
        """Read the volume; see `VolumeReader`."""
        check_file(self.path)
        nibabel = load_extra("nibabel", self.path)
        try:
            image = nibabel.load(self.path)
            dtype, shape = checked_dtype(image.get_data_dtype(), self.path), tuple(image.shape)
            checked_shape(shape, self.path)
            self._check_length(int(image.dataobj.offset) + math.prod(shape) * dtype.itemsize, shape, dtype)
            values = self._values(image.dataobj)
            x, y, z = (float(step) for step in image.header.get_zooms()[:3])
            start = tuple(float(value) for value in image.affine[:3, 3])
        except VolumeError:
            raise
        except (nibabel.filebasedimages.ImageFileError, OSError, ValueError, EOFError, zlib.error) as error:
            raise VolumeError(f"{self.path} cannot be read as NIfTI: {error}") from error
        return as_volume(values, self.path, "xyz", (x, y, z), (start[0], start[1], start[2]), self._name())

    def _name(self) -> str:
        return self.path.name.removesuffix(".gz").removesuffix(".nii")

    def _check_length(self, needed: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        """Compare what the header says with the size of the file, expanded piece by piece where it is compressed."""
        found = self.path.stat().st_size
        if self.path.suffix == ".gz":
            check_fits(shape, dtype, self.path)
            with gzip.open(self.path) as stream:
                found = 0
                while found < needed and (part := stream.read(1 << 20)):
                    found += len(part)
        if found < needed:
            raise VolumeError(f"{self.path} is cut off: its header speaks of {needed:,} bytes, there are {found:,}.")

    def _values(self, proxy: Any) -> NDArray[Any]:
        """Stored values, or scaled ones."""
        if (proxy.slope, proxy.inter) == (1.0, 0.0):
            return np.asanyarray(proxy.get_unscaled())
        check_fits(proxy.shape, np.dtype(np.float64), self.path)
        return np.asanyarray(proxy)
