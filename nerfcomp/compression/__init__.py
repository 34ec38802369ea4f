"""What decides how many bits each weight deserves, and what changes weights while they train; knows no files."""

from nerfcomp.compression.allocation import allocate_qp
from nerfcomp.compression.hooks import WeightHook, bake, detach, linear_layers, plain_parameters
from nerfcomp.compression.local_scaling import LocalScaling, named_scales
from nerfcomp.compression.pruning import apply_masks, chosen_weights, extend_masks, sparsity_after
from nerfcomp.compression.search import largest_passing
from nerfcomp.compression.sensitivity import measure_sensitivity, noise_sensitivity

__all__ = [
    "LocalScaling",
    "WeightHook",
    "allocate_qp",
    "apply_masks",
    "bake",
    "chosen_weights",
    "detach",
    "extend_masks",
    "largest_passing",
    "linear_layers",
    "measure_sensitivity",
    "named_scales",
    "noise_sensitivity",
    "plain_parameters",
    "sparsity_after",
]
