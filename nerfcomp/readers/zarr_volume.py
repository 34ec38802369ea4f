"""Volumes in Zarr folders."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from nerfcomp.errors import VolumeError
from nerfcomp.readers.volume import Volume
from nerfcomp.readers.volume_checks import (
    Triple,
    as_volume,
    axes_of,
    check_file,
    check_fits,
    checked_dtype,
    checked_shape,
    choose,
    holds_volume,
    load_extra,
)


class ZarrVolume:
    """Read one array of a ``.zarr`` folder.

    Args:
        path: The folder.
        dataset: Name of the array, where there are several with three axes.
        axes: Names of the array's axes, first to last; those that the folder says, or ``xyz``, when absent.
        spacing: Distance of voxels along x, y and z.
        origin: Position of voxel (0, 0, 0).
    """

    def __init__(
        self,
        path: Path,
        dataset: str | None = None,
        axes: str | None = None,
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
        zarr = load_extra("zarr", self.path)
        try:
            root = zarr.open(str(self.path), mode="r")
            arrays = dict(_arrays(root, zarr))
            found = arrays[choose(list(arrays), self.dataset, "array", self.path)]
            checked_shape(found.shape, self.path)
            check_fits(found.shape, checked_dtype(found.dtype, self.path), self.path)
            if found.nchunks_initialized == 0:
                raise VolumeError(f"{self.path} says {found.shape}, but no value was ever written.")
            values, axes = np.asarray(found[...]), self.axes or self._axes(found)
        except (OSError, KeyError, TypeError, RuntimeError, zarr.errors.BaseZarrError) as error:
            raise VolumeError(f"{self.path} cannot be read as Zarr: {error}") from error
        name = found.basename or self.path.stem
        return as_volume(values, self.path, axes, self.spacing, self.origin, name)

    def _axes(self, found: Any) -> str:
        """Axes as the folder names them."""
        names = getattr(found.metadata, "dimension_names", None) or found.attrs.get("_ARRAY_DIMENSIONS")
        if not names:
            return "xyz"
        return axes_of([name for name, size in zip(names, found.shape, strict=True) if size > 1], self.path)


def _arrays(root: Any, zarr: Any) -> Iterator[tuple[str, Any]]:
    """Arrays of numbers with three axes of more than one voxel, by name."""
    members = root.members(max_depth=None) if isinstance(root, zarr.Group) else [(root.basename or "array", root)]
    for name, item in members:
        if isinstance(item, zarr.Array) and holds_volume(item.dtype, item.shape):
            yield name, item
