"""What turns a field's numbers back into a volume: lattice, stored type, range, physical units."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nerfcomp.limits import LONGEST_AXIS

DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float16", "float32", "float64")
_LONGEST_NAME = 200
Axes = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


class VolumeInfo(NamedTuple):
    """A volume without its values.

    Attributes:
        shape: Voxels along x, y and z.
        dtype: Type in which values are stored, one of `DTYPES`.
        low: Smallest value, in physical units.
        high: Largest value.
        spacing: Distance between neighbouring voxels along x, y and z.
        origin: Physical position of voxel (0, 0, 0).
        name: What the values are.
    """

    shape: tuple[int, int, int]
    dtype: str
    low: float
    high: float
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    name: str = "values"

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "VolumeInfo":
        """Check what a file of unknown origin says.

        Raises:
            KeyError: A part is missing.
            TypeError: A part is of the wrong type.
            ValueError: A part holds values that no volume has.
        """
        shape, dtype, name = _three(value["shape"], "shape", int), value["dtype"], value["name"]
        spacing, origin = _three(value["spacing"], "spacing", float), _three(value["origin"], "origin", float)
        low, high = (float(value[key]) for key in ("low", "high"))
        if min(shape) < 1:
            raise ValueError(f"a volume of shape {shape} is impossible: it has at least one voxel along each axis")
        if max(shape) > LONGEST_AXIS:
            raise ValueError(f"a volume of shape {shape}; at most {LONGEST_AXIS:,} voxels along an axis are allowed")
        if dtype not in DTYPES:
            raise ValueError(f"values of type {str(dtype)[:40]!r}; allowed are {', '.join(DTYPES)}")
        if not (math.isfinite(low) and math.isfinite(high) and low <= high and math.isfinite(high - low)):
            raise ValueError(f"values from {low} to {high} are no range")
        if np.dtype(dtype).kind != "f" and not (np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max):
            raise ValueError(f"values from {low} to {high} do not fit into {dtype}")
        if min(spacing) <= 0:
            raise ValueError(f"a spacing of {spacing} is impossible; it must be positive")
        if not isinstance(name, str) or len(name) > _LONGEST_NAME:
            raise ValueError(f"the name of the values must be a text of at most {_LONGEST_NAME} characters")
        return cls(shape, dtype, low, high, spacing, origin, name)

    def to_json(self) -> dict[str, Any]:
        """JSON values for `from_json`."""
        return {key: list(part) if isinstance(part, tuple) else part for key, part in self._asdict().items()}

    @property
    def stored_bytes(self) -> int:
        """Bytes of all values in their stored type."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    def physical(self, normalised: NDArray[np.float32]) -> NDArray[Any]:
        """Turn a field's outputs into stored values of the same shape, inside the volume's range.

        >>> VolumeInfo((1, 1, 3), "uint8", 0.0, 100.0).physical(np.array([-1.5, 0.01, 1.0], np.float32))
        array([  0,  50, 100], dtype=uint8)
        """
        share = np.clip(normalised, -1.0, 1.0).astype(np.float64) * 0.5 + 0.5
        values = np.clip(self.low + share * (self.high - self.low), self.low, self.high)
        if np.dtype(self.dtype).kind == "f":
            return values.astype(self.dtype)
        whole = np.rint(values)
        limits = np.iinfo(self.dtype)
        top = limits.max if limits.max < 2**53 else np.nextafter(float(limits.max), 0.0)  # float64 would round it up
        stored: NDArray[Any] = np.minimum(whole, top).astype(self.dtype)
        return stored

    def normalised(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Map stored values to [-1, 1] over the range; all of a constant volume to 0.

        >>> VolumeInfo((1, 1, 3), "uint8", 0.0, 100.0).normalised(np.array([0, 50, 100], np.uint8)).tolist()
        [-1.0, 0.0, 1.0]
        """
        span = self.high - self.low
        if span == 0:
            return np.zeros(values.shape, np.float32)
        centred: NDArray[np.float32] = ((values.astype(np.float64) - self.low) * (2.0 / span) - 1.0).astype(np.float32)
        return centred

    def axes(
        self, region: tuple[slice, slice, slice] | None = None, resolution: tuple[int, int, int] | None = None
    ) -> Axes:
        """Voxel coordinates of a lattice along each axis.

        Args:
            region: Part of the volume, in voxels; all of it when absent.
            resolution: Points along x, y and z, from the first voxel of the region to its last; its voxels when absent.

        Raises:
            ValueError: A region outside the volume or empty, or a resolution below 1.

        >>> [axis.tolist() for axis in VolumeInfo((5, 2, 1), "uint8", 0.0, 1.0).axes(resolution=(3, 2, 1))]
        [[0.0, 2.0, 4.0], [0.0, 1.0], [0.0]]
        """
        region = region or tuple(slice(0, n) for n in self.shape)  # type: ignore[assignment]
        assert region is not None
        found = []
        for axis, (part, n) in enumerate(zip(region, self.shape)):
            start, stop = part.start or 0, n if part.stop is None else part.stop
            if part.step not in (None, 1) or not 0 <= start < stop <= n:
                raise ValueError(f"Region {start}:{stop} of axis {axis} is not inside the volume's 0:{n}.")
            points = stop - start if resolution is None else resolution[axis]
            if points < 1:
                raise ValueError(f"A resolution of {points} points along axis {axis} is impossible; at least 1.")
            found.append(np.linspace(start, stop - 1, points))
        return found[0], found[1], found[2]


def _three(value: Any, name: str, kind: type) -> Any:
    """Check three numbers of a header."""
    good = isinstance(value, (list, tuple)) and len(value) == 3
    if not good or any(type(v) not in ((int,) if kind is int else (int, float)) for v in value):
        raise ValueError(f"{name} must be three numbers, found {str(value)[:60]}")
    numbers = tuple(kind(v) for v in value)
    if not all(math.isfinite(v) for v in numbers):
        raise ValueError(f"{name} must be finite, found {str(value)[:60]}")
    return numbers
