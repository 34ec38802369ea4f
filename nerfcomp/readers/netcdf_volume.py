"""Volumes in NetCDF files."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

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

_EVEN = 1e-3  # of a step, by which positions along an axis may deviate from even ones


class NetcdfVolume:
    """Read one variable of a NetCDF file. Spacing and origin follow from positions of evenly spaced axes.

    Values keep their stored type, unless ``scale_factor`` or ``add_offset`` turn them into floats of other units.

    Args:
        path: The file.
        dataset: Name of the variable, where there are several with three axes.
        axes: Names of its axes, first to last, where the file does not call them x, y and z.
    """

    def __init__(self, path: Path, dataset: str | None = None, axes: str | None = None) -> None:
        self.path = path
        self.dataset = dataset
        self.axes = axes

    def read(self) -> Volume:
        """Read the volume; see `VolumeReader`."""
        check_file(self.path)
        netcdf = load_extra("netCDF4", self.path)
        try:
            with netcdf.Dataset(self.path, "r") as file:
                names = [
                    name for name, variable in file.variables.items() if holds_volume(variable.dtype, variable.shape)
                ]
                found = file.variables[choose(names, self.dataset, "variable", self.path)]
                longer = [name for name, size in zip(found.dimensions, found.shape, strict=True) if size > 1]
                axes = self.axes or axes_of(longer, self.path)
                values, name = self._values(found), str(found.name)
                along = dict(zip(axes, (_positions(file, axis) for axis in longer), strict=False))
        except (OSError, RuntimeError) as error:
            raise VolumeError(f"{self.path} cannot be read as NetCDF: {error}") from error
        steps, starts = _triples([along.get(axis) for axis in "xyz"])
        return as_volume(values, self.path, axes, steps, starts, name)

    def _values(self, found: Any) -> NDArray[Any]:
        """Read the values once their size is believable."""
        source = f"{self.path}: {found.name}"
        checked_shape(found.shape, source)
        check_fits(found.shape, checked_dtype(found.dtype, source), source)
        found.set_always_mask(False)
        values = found[...]
        if isinstance(values, np.ma.MaskedArray):
            raise VolumeError(f"{source} has {int(values.mask.sum()):,} missing values. Replace them first.")
        return np.asarray(values)


def _positions(file: Any, name: str) -> tuple[float, float] | None:
    """Step and start of an axis whose positions are given and even."""
    if name not in file.variables or file.variables[name].ndim != 1:
        return None
    positions = np.asarray(file.variables[name][...], np.float64)
    steps = np.diff(positions)
    even = np.abs(steps - steps.mean()).max() <= _EVEN * abs(steps.mean())
    return (float(steps.mean()), float(positions[0])) if even and steps.mean() > 0 else None


def _triples(along: list[tuple[float, float] | None]) -> tuple[Triple | None, Triple | None]:
    """Spacing and origin where all three axes say theirs."""
    x, y, z = along
    if x is None or y is None or z is None:
        return None, None
    return (x[0], y[0], z[0]), (x[1], y[1], z[1])
