"""Rebuilding a field from its description, which may come from a file of unknown origin."""

from collections.abc import Iterable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from nerfcomp.descriptions import Description, checked_class
from nerfcomp.errors import ContainerError
from nerfcomp.fields.base import Field
from nerfcomp.limits import Cost, check_cost

_PACKAGE = "nerfcomp.fields"
_CEILING = Cost(elements=2**28, modules=2**14)  # of what is built at all, whatever a file holds


def describe_field(field: Field) -> Description:
    """Say how ``field`` can be built again, without its weights."""
    return Description(f"{_PACKAGE}.{type(field).__name__}", dict(field.arguments))


def planned_field(description: Description, classes: Iterable[type[Field]]) -> Field:
    """Build the field that a file describes without memory for its weights, to ask what it would cost.

    Args:
        description: Class path and arguments, not trusted.
        classes: Those of ``nerfcomp.fields`` that may be built.

    Returns:
        The field on the device ``meta``.

    Raises:
        ContainerError: The class is none of these, or its arguments do not fit.
    """
    cls = checked_class(description, {f"{_PACKAGE}.{cls.__name__}": cls for cls in classes})
    try:
        with torch.device("meta"), _ShapesAlone():
            field: Field = cls(**description.init_args)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise ContainerError(f"The file's arguments for {description.class_path} do not work: {error}") from error
    return field


class _ShapesAlone(TorchFunctionMode):
    """Leaves out what constructors compute; torch loads its compiler for some of it on the device ``meta``."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in ("normal_", "uniform_", "_weight_norm"):
            return args[0] if args else kwargs["tensor"]
        if name == "matmul":
            return args[0].new_empty(*args[0].shape[:-1], args[1].shape[-1])
        return func(*args, **(kwargs or {}))


def field_cost(field: Field) -> Cost:
    """Count the weights and modules of a field, on whatever device."""
    return Cost(sum(p.numel() for p in field.parameters()), sum(1 for _ in field.modules()))


def build_field(description: Description, classes: Iterable[type[Field]]) -> Field:
    """Build the field that a file describes.

    Args:
        description: Class path and arguments, not trusted.
        classes: Those of ``nerfcomp.fields`` that may be built.

    Returns:
        The field with fresh weights.

    Raises:
        ContainerError: The class is none of these, or its arguments do not fit or are absurdly large.
    """
    plan = planned_field(description, classes)
    cost = field_cost(plan)
    check_cost(cost, _CEILING)
    field: Field = type(plan)(**description.init_args)
    return field
