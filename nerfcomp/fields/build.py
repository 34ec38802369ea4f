"""Rebuilding a field from its description, which may come from a file of unknown origin."""

from collections.abc import Iterable

import torch

from nerfcomp.descriptions import Description, checked_class
from nerfcomp.errors import ContainerError
from nerfcomp.fields.base import Field

_PACKAGE = "nerfcomp.fields"
_MOST_WEIGHTS = 2**28


def describe_field(field: Field) -> Description:
    """Say how ``field`` can be built again, without its weights."""
    return Description(f"{_PACKAGE}.{type(field).__name__}", dict(field.arguments))


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
    cls = checked_class(description, {f"{_PACKAGE}.{cls.__name__}": cls for cls in classes})
    try:
        with torch.device("meta"):
            weights = sum(p.numel() for p in cls(**description.init_args).parameters())
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise ContainerError(f"The file's arguments for {description.class_path} do not work: {error}") from error
    if weights > _MOST_WEIGHTS:
        raise ContainerError(f"The file describes a field of {weights:,} weights; at most {_MOST_WEIGHTS:,} are built.")
    field: Field = cls(**description.init_args)
    return field
