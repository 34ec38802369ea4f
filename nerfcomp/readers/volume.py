"""What every reader of volumes returns, and walking through volumes that do not fit into memory."""

import mmap
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
        values: (X, Y, Z) array or memory map in the type that is stored: integers or floats of at most 64 bits, in
            either byte order and with any strides.
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


def forget_pages(*values: NDArray[Any]) -> None:
    """Let the system take back what memory maps that are only read have in memory; other arrays are left alone.

    Pages that are read again come from the disk, or from what the system still has of it.
    """
    for array in values:
        owner: Any = array
        while isinstance(owner, np.ndarray) and owner.base is not None:
            owner = owner.base
        if isinstance(owner, mmap.mmap) and not array.flags.writeable and hasattr(mmap, "MADV_DONTNEED"):
            owner.madvise(mmap.MADV_DONTNEED)


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
    for part in stored_slabs(values):
        least, most = float(values[part].min()), float(values[part].max())
        if not np.isfinite(least) or not np.isfinite(most):
            raise VolumeError(f"{source} {_not_finite(values, part)}. Replace such values first.")
        low, high = min(low, least), max(high, most)
        forget_pages(values)
    return ValueRange(low, high)


def stored_slabs(values: NDArray[Any], limit: int = SLAB_BYTES) -> Iterator[tuple[slice, ...]]:
    """Cut an array across the axis that is stored slowest, so that a walk through a memory map reads it once.

    Args:
        values: (X, Y, Z) array or memory map.
        limit: Largest slab in bytes as float64.

    Yields:
        Indices of (x, y, z) parts of ``values``.
    """
    axis = int(np.argmax(np.abs(values.strides)))
    others = tuple(size for i, size in enumerate(values.shape) if i != axis)
    for part in slabs((values.shape[axis], *others), limit):
        yield tuple(part if i == axis else slice(None) for i in range(values.ndim))


def _not_finite(values: NDArray[Any], part: tuple[slice, ...]) -> str:
    """Say which value is not finite, and where the first one is."""
    place = np.argwhere(~np.isfinite(values[part]))[0] + [cut.start or 0 for cut in part]
    x, y, z = (int(i) for i in place)
    return f"holds the value {values[x, y, z]} at voxel ({x}, {y}, {z}), which no network can learn"
