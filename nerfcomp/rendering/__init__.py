"""Rendering of fields given as callables: occupancy, samplers, one render path, losses and image metrics."""

from nerfcomp.kernels.march import Samples
from nerfcomp.rendering.build import build_sampler, describe_sampler, sampler_class
from nerfcomp.rendering.hierarchical import HierarchicalSampler
from nerfcomp.rendering.images import Rendered, render, render_image
from nerfcomp.rendering.occupancy import OccupancyGrid
from nerfcomp.rendering.sampler import OccupancySampler, Sampler

__all__ = [
    "HierarchicalSampler",
    "OccupancyGrid",
    "OccupancySampler",
    "Rendered",
    "Sampler",
    "Samples",
    "build_sampler",
    "describe_sampler",
    "render",
    "render_image",
    "sampler_class",
]
