"""Rebuilding a field from its description, which may come from a file of unknown origin."""

import inspect
from typing import Any, NamedTuple

import torch

from nerfcomp.errors import ContainerError
from nerfcomp.fields.base import RadianceField
from nerfcomp.fields.ngp import NGPField

_PACKAGE = "nerfcomp.fields"
_FIELDS: dict[str, type[RadianceField]] = {f"{_PACKAGE}.{cls.__name__}": cls for cls in (NGPField,)}
_MOST_WEIGHTS = 2**28


class FieldDescription(NamedTuple):
    """A field class and the arguments that built it."""

    class_path: str
    init_args: dict[str, Any]


def describe_field(field: RadianceField) -> FieldDescription:
    """Say how ``field`` can be built again, without its weights."""
    return FieldDescription(f"{_PACKAGE}.{type(field).__name__}", dict(field.arguments))


def build_field(description: FieldDescription) -> RadianceField:
    """Build the field that a file describes.

    Args:
        description: Class path and arguments, not trusted.

    Returns:
        The field with fresh weights.

    Raises:
        ContainerError: The class is none of ``nerfcomp.fields``, or its arguments do not fit or are absurdly large.
    """
    cls = _FIELDS.get(description.class_path)
    if cls is None:
        raise ContainerError(
            f"The file asks for the class {description.class_path!r}; only {', '.join(sorted(_FIELDS))} may be built."
        )
    _check_arguments(cls, description.init_args)
    try:
        with torch.device("meta"):
            weights = sum(p.numel() for p in cls(**description.init_args).parameters())
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise ContainerError(f"The file's arguments for {description.class_path} do not work: {error}") from error
    if weights > _MOST_WEIGHTS:
        raise ContainerError(f"The file describes a field of {weights:,} weights; at most {_MOST_WEIGHTS:,} are built.")
    return cls(**description.init_args)


def _check_arguments(cls: type[RadianceField], arguments: dict[str, Any]) -> None:
    known = inspect.signature(cls).parameters
    for key, value in arguments.items():
        if key not in known:
            raise ContainerError(f"The file gives {cls.__name__} the unknown argument {key!r}; it takes {list(known)}.")
        expected = known[key].annotation
        if isinstance(expected, type) and type(value) is not expected:
            raise ContainerError(f"The file gives {key}={value!r}; {cls.__name__} needs {expected.__name__} there.")
