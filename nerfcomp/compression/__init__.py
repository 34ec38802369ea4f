"""What decides how many bits each weight deserves, and what changes weights while they train; knows no files."""

from nerfcomp.compression.activation_grid import calibrating, freeze_ranges
from nerfcomp.compression.allocation import allocate_qp
from nerfcomp.compression.binary_mask import BinaryMask
from nerfcomp.compression.fake_quantization import FakeQuantization, FakeQuantizer, quantizers, wait_for_input
from nerfcomp.compression.hook_descriptions import SCALING_HOOK, attach_described, describe_hooks, take_hooks
from nerfcomp.compression.hooked import (
    bake,
    baked_copy,
    carried_factors,
    coded_weights,
    detach,
    hooked_weights,
    load_plain,
    needs_baking,
    ordered_parameters,
    plain_parameters,
)
from nerfcomp.compression.hooks import WeightFunction, WeightHook, chosen_weights, linear_layers
from nerfcomp.compression.learned_pruning import PruningFunction, PruningHook, pruning_functions
from nerfcomp.compression.local_scaling import LocalScaling, named_scales
from nerfcomp.compression.masks import Masking, hold_masks, named_masks
from nerfcomp.compression.pruning import extend_masks, sparsity_after
from nerfcomp.compression.rate_aware import RateAware, RatedWeight, rated_weights
from nerfcomp.compression.search import largest_passing
from nerfcomp.compression.sensitivity import measure_sensitivity, noise_sensitivity
from nerfcomp.compression.smallify import Smallify
from nerfcomp.compression.variational_dropout import VariationalDropout

__all__ = [
    "BinaryMask",
    "FakeQuantization",
    "FakeQuantizer",
    "LocalScaling",
    "Masking",
    "PruningFunction",
    "PruningHook",
    "RateAware",
    "RatedWeight",
    "SCALING_HOOK",
    "Smallify",
    "VariationalDropout",
    "WeightFunction",
    "WeightHook",
    "allocate_qp",
    "attach_described",
    "bake",
    "baked_copy",
    "calibrating",
    "carried_factors",
    "chosen_weights",
    "coded_weights",
    "describe_hooks",
    "detach",
    "extend_masks",
    "freeze_ranges",
    "hold_masks",
    "hooked_weights",
    "largest_passing",
    "linear_layers",
    "load_plain",
    "measure_sensitivity",
    "named_masks",
    "named_scales",
    "needs_baking",
    "noise_sensitivity",
    "ordered_parameters",
    "plain_parameters",
    "pruning_functions",
    "quantizers",
    "rated_weights",
    "sparsity_after",
    "take_hooks",
    "wait_for_input",
]
