"""What every reader of volumes returns, and walking through volumes that do not fit into memory."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from nerfcomp.errors import VolumeError

SLAB_BYTES = 1 << 25  # of one slab as float64


class Volume(NamedTuple):
    """A scalar on a regular lattice.

    Attributes:
        values: (X, Y, Z) array or memory map in the type that is stored; any integer or float type of numpy.
        spacing: Distance between neighbouring voxels along x, y and z, in physical units.
        origin: Physical position of voxel (0, 0, 0).
        name: What the values are, as in ``density``.
    """

    values: NDArray[Any]
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    name: str = "values"


class VolumeReader(Protocol):
    """One format on disk, or a recipe; the constructor takes a path and what the file itself does not say."""

    def read(self) -> Volume:
        """Read the volume.

        Raises:
            VolumeError: The file cannot be read as a volume; the message names it.
        """
        ...


class ValueRange(NamedTuple):
    """Smallest and largest value of a volume, in physical units."""

    low: float
    high: float


def slabs(shape: tuple[int, ...], limit: int = SLAB_BYTES) -> Iterator[slice]:
    """Cut the first axis into ranges of which each takes at most ``limit`` bytes as float64, but at least one layer.

    >>> list(slabs((5, 4, 4), limit=2 * 4 * 4 * 8))
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    thickness = max(1, limit // (8 * int(np.prod(shape[1:], dtype=np.int64))))
    return (slice(start, min(start + thickness, shape[0])) for start in range(0, shape[0], thickness))


def npy_memmap(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> "np.memmap[Any, Any]":
    """Make a ``.npy`` of zeros on disk, to be filled part by part; ``flush()`` it at the end."""
    values: np.memmap[Any, Any] = np.lib.format.open_memmap(  # type: ignore[no-untyped-call]
        path, mode="w+", dtype=dtype, shape=shape
    )
    return values


def value_range(values: NDArray[Any], source: str = "The volume") -> ValueRange:
    """Find the range of a volume slab by slab.

    Args:
        values: (X, Y, Z) array or memory map.
        source: Name of the file for messages.

    Raises:
        VolumeError: A value is NaN or infinite.

    >>> value_range(np.arange(8, dtype=np.uint8).reshape(2, 2, 2))
    ValueRange(low=0.0, high=7.0)
    """
    low, high = np.inf, -np.inf
    for part in slabs(values.shape):
        least, most = float(values[part].min()), float(values[part].max())
        if not np.isfinite(least) or not np.isfinite(most):
            raise VolumeError(f"{source} {_not_finite(values[part], part.start)}. Replace such values first.")
        low, high = min(low, least), max(high, most)
    return ValueRange(low, high)


def _not_finite(slab: NDArray[Any], start: int) -> str:
    """Say which value is not finite, and where the first one is."""
    x, y, z = (int(i) for i in np.argwhere(~np.isfinite(slab))[0])
    return f"holds the value {slab[x, y, z]} at voxel ({x + start}, {y}, {z}), which no network can learn"
