"""Integer layers in descriptions: on which grids the inputs of each lie, as lists of scale and zero point."""

import math
from collections.abc import Mapping
from typing import Any

from torch import nn

from nerfcomp.errors import ContainerError
from nerfcomp.fields.integer import integer_layers, put_integer_layers
from nerfcomp.kernels.int8_linear import Grid

INTEGERS_KEY = "int8"  # of a description


def describe_integers(field: nn.Module) -> dict[str, Any]:
    """Grids of the integer layers of a field as JSON values, under the key of a description; empty without."""
    layers = integer_layers(field)
    grids = {name: [list(grid) for grid in layer.grids] for name, layer in layers.items()}
    return {INTEGERS_KEY: grids} if layers else {}


def take_integers(field: nn.Module, values: Any) -> None:
    """Give a field the integer layers that a file of unknown origin describes, in place.

    Raises:
        ContainerError: Not what `describe_integers` gives, or it does not fit the field.
    """
    if not isinstance(values, Mapping) or not all(_are_grids(grids) for grids in values.values()):
        raise ContainerError(f"{INTEGERS_KEY} must give each layer a list of scales and zero points, but does not.")
    try:
        put_integer_layers(field, {name: [Grid(*grid) for grid in grids] for name, grids in values.items()})
    except ValueError as error:
        raise ContainerError(f"The file's integer layers do not fit its field: {error}") from error


def _are_grids(values: Any) -> bool:
    return isinstance(values, list) and all(
        isinstance(grid, list)
        and len(grid) == 2
        and type(grid[0]) is float
        and 0 < grid[0] < math.inf
        and type(grid[1]) is int
        and 0 <= grid[1] <= 255
        for grid in values
    )
