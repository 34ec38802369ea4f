"""What a description of unknown origin may cost, compared before anything of it is built."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from nerfcomp.errors import ContainerError

MOST_ELEMENTS = 2**26  # 256 MiB as float32; what a file of a few kilobytes could say of itself
MOST_VOXELS = 2**27  # of a volume whose coefficients are in memory at once, beside other tensors
LONGEST_AXIS = 2**24  # voxels of a volume along one axis, whose coordinates are in memory at once
_LONGEST_LIST, _LONGEST_TEXT, _DEEPEST = 4096, 1024, 4
_LARGEST_INTEGER = 2**63


class Cost(NamedTuple):
    """What it takes to build and draw something.

    Attributes:
        elements: Numbers in tensors that are trained.
        modules: Layers and what holds them together.
        cells: Cells of occupancy grids.
        pixels: Pixels of a picture.
        picture: Largest number of values that a picture needs at a time.
        voxels: Values of a volume.
        plane: Largest number of voxels that are decoded at a time.
    """

    elements: int = 0
    modules: int = 0
    cells: int = 0
    pixels: int = 0
    picture: int = 0
    voxels: int = 0
    plane: int = 0


LIMITS = Cost(
    elements=MOST_ELEMENTS, modules=2**14, cells=2**25, pixels=2**26, picture=2**28, voxels=2**36, plane=2**26
)


def check_cost(cost: Cost, limits: Cost = LIMITS) -> None:
    """Compare a cost with limits.

    Raises:
        ContainerError: One is exceeded.

    >>> check_cost(Cost(pixels=2**30))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    nerfcomp.errors.ContainerError: The file describes something of 1,073,741,824 pixels; at most 67,108,864 are...
    """
    for name, value, most in zip(cost._fields, cost, limits):
        if value > most:
            what = "values in one picture" if name == "picture" else "voxels in one plane" if name == "plane" else name
            raise ContainerError(f"The file describes something of {value:,} {what}; at most {most:,} are allowed.")


def check_plain(value: Any, depth: int = 0) -> None:
    """Check that arguments of a description are plain, short and finite, before a constructor sees them.

    Args:
        value: Anything that a file holds.
        depth: How deep it lies.

    Raises:
        ContainerError: It is too long, too deep, too large or no plain value.

    >>> check_plain({"levels": 10**400})
    Traceback (most recent call last):
    ...
    nerfcomp.errors.ContainerError: A description holds a number beyond 64 bits, which nothing here needs.
    """
    if value is None or type(value) is bool:
        return
    if type(value) is float:
        if not math.isfinite(value):
            raise ContainerError(f"A description holds the number {value}; only finite ones are allowed.")
    elif type(value) is int:
        if not -_LARGEST_INTEGER <= value < _LARGEST_INTEGER:
            raise ContainerError("A description holds a number beyond 64 bits, which nothing here needs.")
    elif isinstance(value, str):
        if len(value) > _LONGEST_TEXT:
            raise ContainerError(f"A description holds a text of {len(value):,} characters; {_LONGEST_TEXT} will do.")
    elif isinstance(value, Mapping | list | tuple) and depth < _DEEPEST and len(value) <= _LONGEST_LIST:
        for part in _parts(value):
            check_plain(part, depth + 1)
    else:
        raise ContainerError(
            f"A description holds {type(value).__name__} {str(type(value))[:40]} where plain values are needed: lists "
            f"of at most {_LONGEST_LIST} entries, {_DEEPEST} deep."
        )


def _parts(value: Mapping[Any, Any] | Sequence[Any]) -> list[Any]:
    return [*value.keys(), *value.values()] if isinstance(value, Mapping) else list(value)
