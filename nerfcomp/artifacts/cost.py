"""What a described model of any kind would cost, known before any of it is built."""

import inspect
import math
from collections.abc import Mapping
from typing import Any

from nerfcomp.artifacts.artifact import Artifact
from nerfcomp.artifacts.volume_info import VolumeInfo
from nerfcomp.descriptions import Description
from nerfcomp.errors import ContainerError
from nerfcomp.fields import INTEGERS_KEY, field_cost, planned_field
from nerfcomp.limits import LIMITS, Cost, check_cost, check_plain
from nerfcomp.rendering import sampler_class

_SLACK = 2**20  # elements; that a small field does not fit its file is said by the names of its tensors
_HOOKED_ELEMENTS = 2**27  # weights with what hooks keep for each of them


def check_described(description: Mapping[str, Any], kind: type[Artifact], elements: int = LIMITS.elements) -> None:
    """Compare what a described model costs with what is allowed.

    Args:
        description: From a file of unknown origin.
        kind: The kind that its network is of.
        elements: Most weights: as many as the file holds.

    Raises:
        ContainerError: It costs too much, or a part of it is wrong.
        KeyError: A part is missing.
    """
    for key in ("field", "hooks", "qp", INTEGERS_KEY, *kind.parts):
        check_plain(description.get(key), -2)
    cost = described_cost(description, kind)
    check_cost(cost, LIMITS._replace(elements=elements + _SLACK))
    hooks = description.get("hooks") or []
    check_cost(Cost(cost.elements * (1 + len(hooks))), LIMITS._replace(elements=_HOOKED_ELEMENTS))


def described_cost(description: Mapping[str, Any], kind: type[Artifact]) -> Cost:
    """Add up what a described model costs; arguments and errors as of `check_described`."""
    field = planned_field(Description.from_json(description["field"]), kind.field_classes)
    cost = field_cost(field)
    if "sampler" in kind.parts:
        cost = cost._replace(cells=_cells(Description.from_json(description["sampler"])))
    if "scene" in kind.parts:
        pixels = math.prod(_whole(description["scene"], key) for key in ("height", "width"))
        cost = cost._replace(pixels=pixels, picture=field.picture_values(pixels))
    if "volume" in kind.parts:
        shape = VolumeInfo.from_json(description["volume"]).shape
        cost = cost._replace(voxels=math.prod(shape), plane=shape[1] * shape[2])
    return cost


def _cells(sampler: Description) -> int:
    """Cells of a sampler's grid."""
    known = inspect.signature(sampler_class(sampler)).parameters
    values = {name: sampler.init_args.get(name, known[name].default) for name in ("cascades", "resolution")}
    values["cascades"] = values["cascades"] or 1  # of a sampler that has not been told
    return _whole(values, "cascades") * _whole(values, "resolution") ** 3


def _whole(values: Any, key: str) -> int:
    """A whole number above 0 of a description."""
    value = values.get(key) if isinstance(values, Mapping) else None
    if type(value) is not int or value < 1:
        raise ContainerError(f"{key} must be a whole number above 0, found {str(value)[:60]}.")
    return value
