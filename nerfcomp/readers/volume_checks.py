"""What every reader of volumes asks of a file before it allocates memory, and of the values it has found."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import DTypeLike, NDArray

from nerfcomp.errors import VolumeError
from nerfcomp.lazy import import_extra
from nerfcomp.limits import LONGEST_AXIS
from nerfcomp.readers.volume import Volume, value_range

Triple = tuple[float, float, float]
AXES = "xyz"


def load_extra(name: str, source: Path) -> Any:
    """Import a library that reads one format.

    Raises:
        MissingExtraError: It is not installed.
    """
    return import_extra(name, f"{source} needs the package {name.split('.')[0]}: pip install 'nerfcomp[volumes]'.")


def check_file(path: Path) -> None:
    """Stop when there is nothing to read.

    Raises:
        VolumeError: There is no such file or folder.
    """
    if not path.exists():
        raise VolumeError(f"There is no volume at {path}.")


def checked_dtype(dtype: DTypeLike, source: Path | str) -> np.dtype[Any]:
    """The type, if a scalar volume may have it.

    Raises:
        VolumeError: It is neither an integer nor a float of at most 64 bits.
    """
    try:
        found = np.dtype(dtype)
    except TypeError as error:
        raise VolumeError(f"{source}: {dtype!r} is no type of numbers; say for example uint8 or float32.") from error
    if found.kind not in "iuf" or found.itemsize > 8:
        raise VolumeError(f"{source} holds {found}; a volume holds integers or floats of at most 64 bits, one a voxel.")
    return found


def checked_shape(shape: Sequence[int], source: Path | str) -> tuple[int, int, int]:
    """The three sizes, after axes of length 1 beyond three are dropped.

    Raises:
        VolumeError: There are not three axes of two voxels or more, or one is too long.
    """
    sizes = [int(size) for size in shape]
    while len(sizes) > 3 and 1 in sizes:
        sizes.remove(1)
    if len(sizes) != 3 or min(sizes) < 2:
        said = " x ".join(map(str, shape)) if len(shape) < 10 else f"{len(shape)} axes"
        said = said or "no axes"
        hint = "Cut one scalar volume out first" if len(sizes) > 3 else "Images and profiles are not volumes"
        raise VolumeError(f"{source} has {said}; a volume needs three axes of at least 2 voxels. {hint}.")
    if max(sizes) > LONGEST_AXIS:
        raise VolumeError(f"{source} has {max(sizes):,} voxels along an axis; at most {LONGEST_AXIS:,} are allowed.")
    return sizes[0], sizes[1], sizes[2]


def check_bytes(found: int, shape: Sequence[int], dtype: np.dtype[Any], source: Path | str) -> None:
    """Compare the size of uncompressed values with what the header says.

    Raises:
        VolumeError: They differ.
    """
    needed = math.prod(int(size) for size in shape) * dtype.itemsize
    if found != needed:
        said = " x ".join(map(str, shape))
        raise VolumeError(f"{source} has {found:,} bytes of values where {said} voxels of {dtype} take {needed:,}.")


def check_fits(shape: Sequence[int], dtype: np.dtype[Any], source: Path | str) -> None:
    """Stop before values are read that memory cannot hold.

    Raises:
        VolumeError: They need more than the memory that is free.
    """
    needed = math.prod(int(size) for size in shape) * dtype.itemsize
    free = psutil.virtual_memory().available
    if needed > free:
        raise VolumeError(
            f"{source} says that it holds {needed:,} bytes of values; {free:,} bytes of memory are free. "
            "If that is true, convert it to .npy or raw, which are read piece by piece."
        )


def holds_volume(dtype: Any, shape: Sequence[int]) -> bool:
    """Whether an array of a file holds numbers along three axes of more than one voxel.

    >>> number = np.dtype("uint8")
    >>> holds_volume(number, (1, 4, 5, 6)), holds_volume(number, (5, 6)), holds_volume(str, (4, 5, 6))
    (True, False, False)
    """
    return isinstance(dtype, np.dtype) and dtype.kind in "iuf" and sum(size > 1 for size in shape) >= 3


def choose(names: Sequence[str], wanted: str | None, what: str, source: Path | str) -> str:
    """Choose one of several volumes in a file by name.

    Raises:
        VolumeError: There is none, none of that name, or none was named among several.
    """
    if wanted is not None and wanted in names:
        return wanted
    if wanted is None and len(names) == 1:
        return names[0]
    if not names:
        raise VolumeError(f"{source} holds no {what} with three axes of numbers.")
    wrong = "several" if wanted is None else f"no {wanted!r}"
    raise VolumeError(f"{source} holds {wrong} among its {what}s; name one with --dataset: {', '.join(names)}.")


def axes_of(names: Sequence[str | None], source: Path | str) -> str:
    """Read the order of the axes from their names.

    Raises:
        VolumeError: They are not x, y and z.

    >>> axes_of(["Z", "y", "X"], "a.nc")
    'zyx'
    """
    found = "".join((name or "?").lower() for name in names)
    if sorted(found) != sorted(AXES):
        raise VolumeError(
            f"{source} calls its axes ({', '.join(map(str, names))}); say with --axes which is which, for example zyx."
        )
    return found


def as_volume(
    values: NDArray[Any],
    source: Path | str,
    axes: str = AXES,
    spacing: Triple | None = None,
    origin: Triple | None = None,
    name: str = "values",
) -> Volume:
    """Check values and put their axes in order; nothing is copied.

    Args:
        values: Array or memory map of three axes.
        source: Name of the file for messages.
        axes: Names of the axes of ``values``, in their order.
        spacing: Of the voxels along x, y and z; 1 when absent.
        origin: Of voxel (0, 0, 0); 0 when absent.
        name: What the values are.

    Raises:
        VolumeError: A value is not finite, all are equal, the axes are not x, y and z, or the spacing is not positive.
    """
    if sorted(axes) != sorted(AXES):
        raise VolumeError(f"{source}: axes {axes!r} must name x, y and z once each, slowest first, as in zyx.")
    checked_dtype(values.dtype, source)
    ordered = values.reshape(checked_shape(values.shape, source)).transpose([axes.index(axis) for axis in AXES])
    low, high = value_range(ordered, str(source))
    if low == high:
        raise VolumeError(f"All voxels of {source} hold {low:g}; a constant volume needs no network.")
    steps, start = spacing or (1.0, 1.0, 1.0), origin or (0.0, 0.0, 0.0)
    if len(steps) != 3 or len(start) != 3 or not all(0.0 < step < math.inf for step in steps):
        raise VolumeError(f"{source}: spacing {tuple(steps)} must be three positive numbers, origin three numbers.")
    if not all(map(math.isfinite, start)):
        raise VolumeError(f"{source}: origin {tuple(start)} must be finite.")
    return Volume(ordered, _floats(steps), _floats(start), name)


def _floats(values: Sequence[float]) -> Triple:
    x, y, z = (float(value) for value in values)
    return x, y, z
