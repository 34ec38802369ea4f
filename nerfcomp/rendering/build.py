"""Rebuilding a sampler from its description, which may come from a file of unknown origin."""

from torch import Tensor

from nerfcomp.descriptions import Description, checked_class
from nerfcomp.errors import ContainerError
from nerfcomp.rendering.hierarchical import HierarchicalSampler
from nerfcomp.rendering.sampler import OccupancySampler, Sampler

_PACKAGE = "nerfcomp.rendering"
_SAMPLERS: dict[str, type[Sampler]] = {
    f"{_PACKAGE}.{cls.__name__}": cls for cls in (OccupancySampler, HierarchicalSampler)
}


def describe_sampler(sampler: Sampler) -> Description:
    """Say how ``sampler`` can be built again, without what it knows."""
    return Description(f"{_PACKAGE}.{type(sampler).__name__}", dict(sampler.arguments))


def sampler_class(description: Description) -> type[Sampler]:
    """The class that a description of unknown origin names.

    Raises:
        ContainerError: It is none of ours, or its arguments are of other types.
    """
    return checked_class(description, _SAMPLERS)


def build_sampler(description: Description, aabb: Tensor) -> Sampler:
    """Build the sampler that a file of unknown origin describes.

    Args:
        description: Class path and arguments, not trusted.
        aabb: (2, 3) box of the scene.

    Returns:
        A sampler that knows nothing about the scene but its box.

    Raises:
        ContainerError: The class is none of ours, or its arguments do not fit.
    """
    cls = sampler_class(description)
    try:
        sampler: Sampler = cls(**description.init_args)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise ContainerError(f"The file's arguments for {description.class_path} do not work: {error}") from error
    sampler.prepare(aabb)
    return sampler
