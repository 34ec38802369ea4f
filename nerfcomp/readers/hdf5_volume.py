"""Volumes in HDF5 files."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nerfcomp.errors import VolumeError
from nerfcomp.readers.volume import Volume
from nerfcomp.readers.volume_checks import (
    AXES,
    Triple,
    as_volume,
    check_bytes,
    check_file,
    check_fits,
    checked_dtype,
    checked_shape,
    choose,
    holds_volume,
    load_extra,
)


class Hdf5Volume:
    """Read one dataset of an HDF5 file; memory-mapped where it is stored in one piece without a filter.

    Args:
        path: The file.
        dataset: Its name, where there are several with three axes.
        axes: Names of the dataset's axes, first to last.
        spacing: Distance of voxels along x, y and z.
        origin: Position of voxel (0, 0, 0).
    """

    def __init__(
        self,
        path: Path,
        dataset: str | None = None,
        axes: str = AXES,
        spacing: Triple | None = None,
        origin: Triple | None = None,
    ) -> None:
        self.path = path
        self.dataset = dataset
        self.axes = axes
        self.spacing = spacing
        self.origin = origin

    def read(self) -> Volume:
        """Read the volume; see `VolumeReader`."""
        check_file(self.path)
        h5py = load_extra("h5py", self.path)
        try:
            with h5py.File(self.path, "r") as file:
                names = list[str]()
                file.visititems(lambda name, item: names.append(name) if _is_volume(item, h5py) else None)
                wanted = None if self.dataset is None else self.dataset.strip("/")
                name = choose(names, wanted, "dataset", self.path)
                values = self._values(file[name])
        except (OSError, RuntimeError, KeyError) as error:
            raise VolumeError(f"{self.path} cannot be read as HDF5: {error}") from error
        return as_volume(values, self.path, self.axes, self.spacing, self.origin, name.rpartition("/")[2])

    def _values(self, found: Any) -> NDArray[Any]:
        """Map or read the values once their size is believable."""
        dtype, source = checked_dtype(found.dtype, self.path), f"{self.path}: {found.name}"
        checked_shape(found.shape, source)
        if found.is_virtual or found.external:
            raise VolumeError(
                f"{source} keeps its values in other files, which are not opened. Copy them into one file."
            )
        start, stored = found.id.get_offset(), found.id.get_storage_size()
        if start is not None:
            check_bytes(stored, found.shape, dtype, source)
            check_bytes(min(stored, self.path.stat().st_size - start), found.shape, dtype, source)
            values: np.memmap[Any, Any] = np.memmap(self.path, dtype, "r", start, found.shape)
            return values
        if stored == 0:
            raise VolumeError(f"{source} says {found.shape}, but no value was ever written.")
        check_fits(found.shape, dtype, source)
        return np.asarray(found[()])


def _is_volume(item: Any, h5py: Any) -> bool:
    """Whether something in the file is a dataset of numbers with three axes of more than one voxel."""
    return isinstance(item, h5py.Dataset) and item.shape is not None and holds_volume(item.dtype, item.shape)
