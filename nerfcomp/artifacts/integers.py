"""Models that multiply integers: from a model trained for it, into files, and back.

Their weights are tensors of whole numbers in checkpoints and files alike; descriptions hold the grids of activations.
"""

import copy
from collections.abc import Iterable
from typing import Any, TypeVar

import torch
from torch import nn

from nerfcomp.artifacts.artifact import Artifact
from nerfcomp.compression import FakeQuantization, FakeQuantizer, baked_copy, calibrating, freeze_ranges, quantizers
from nerfcomp.fields import Field, integer_layers, put_integer_layers
from nerfcomp.kernels.int8_linear import Grid

A = TypeVar("A", bound=Artifact)
_SEED = 0


@torch.no_grad()
def to_integers(trained: A) -> A:
    """Turn a model that was trained or calibrated for integers into one that multiplies them.

    Args:
        trained: With `FakeQuantization` on its weights, whose ranges are known.

    Returns:
        The same pictures, up to rounding, by integers; for use and not for training. What was not chosen stays float,
        and so do layers that nothing has passed through, such as those for directions of a network without.

    Raises:
        ValueError: No weight is hooked, no range of an input is known, or a layer has no form in integers.
    """
    hooked = quantizers(trained.field)
    if not hooked:
        raise ValueError("No weight of this model is quantized: calibrate it, or train it with FakeQuantization.")
    found = {name: quantizer for name, quantizer in hooked.items() if all(grid.seen for grid in quantizer.grids)}
    if not found:
        raise ValueError("The ranges of activations are not known yet: calibrate or train first.")
    names = {name: name.removesuffix(".weight").removesuffix("weight") for name in found}
    grids = {names[name]: [Grid(*part.grid()) for part in quantizer.grids] for name, quantizer in found.items()}
    stored = {name: _weight_before(trained.field, layer) for name, layer in names.items()}
    field = baked_copy(trained.field)
    put_integer_layers(field, grids)
    layers = integer_layers(field)
    for name, quantizer in found.items():
        layer = layers[names[name]]
        layer.weight.copy_(quantizer.integers(stored[name]))
        layer.scale.copy_(quantizer.log_scale.exp().flatten())
    return trained.replace(field=field.eval())


def _weight_before(field: Field, layer: str) -> Any:
    """What the hooks before the quantizer make of a weight."""
    hooked: Any = field.get_submodule(layer).get_submodule("parametrizations.weight")
    weight = hooked.original
    for function in hooked:
        if isinstance(function, FakeQuantizer):
            break
        weight = function(weight)
    return weight


def entropy_of_weights(trained: Artifact) -> float:
    """Bits per integer weight below which no coder gets that takes them one by one: entropies of layers, averaged.

    Raises:
        ValueError: There are no integer layers.
    """
    layers = integer_layers(trained.field).values()
    if not layers:
        raise ValueError("This model has no integer layers.")
    bits = 0.0
    for layer in layers:
        counts = torch.bincount(layer.weight.flatten().long() + 128).double()
        shares = counts[counts > 0] / layer.weight.numel()
        bits -= float((shares * shares.log2()).sum()) * layer.weight.numel()
    return bits / sum(layer.weight.numel() for layer in layers)


def quantization_of(trained: Artifact) -> list[FakeQuantization]:
    """What is quantized in a model that was trained for integers, and how; for `calibrated`."""
    found = [quantizer.made_by.for_weights([name]) for name, quantizer in quantizers(trained.field).items()]
    if not found:
        raise ValueError("No weight of this model is quantized: it was not trained with FakeQuantization.")
    return found


def calibrated(trained: A, hooks: Iterable[FakeQuantization], batches: int = 8, prepared: bool = False) -> A:
    """Find the ranges of a trained model's activations without training: post-training quantization.

    Args:
        trained: Any model without quantizers.
        hooks: What is quantized, and how.
        batches: How much of what the model is used for is shown to it: rays or views of training poses, or positions.
        prepared: It has been evaluated before, so that what is empty is known already.

    Returns:
        A copy with these hooks, their ranges frozen.
    """
    twin = copy.deepcopy(trained.without_hooks())
    for hook in hooks:
        hook.attach(twin.field)
    if prepared:
        for module in twin.modules().values():
            module.eval()
        with calibrating(twin.field):
            twin.rehearse(batches, _SEED)
    else:
        with twin.evaluating(), calibrating(twin.field):
            twin.rehearse(batches, _SEED)
    freeze_ranges(twin.field)
    return twin


def take_ranges(trained: Artifact, batches: int = 8) -> None:
    """Take the ranges of activations anew from what a model is used for, in place; then they stand still.

    Where training places its samples, near surfaces, a NeRF's values may be a fifth of those that its pictures come
    across. Steps that are trained stay as they are.

    Args:
        trained: With quantizers; between two steps of its training, or after it.
        batches: See `calibrated`.
    """
    found = [one for one in quantizers(trained.field).values() if one.made_by.ranges != "learned"]
    grids = [grid for one in found for grid in one.grids]
    known = [copy.deepcopy(grid.state_dict()) for grid in grids]
    for grid in grids:
        grid.forget()
    with trained.evaluating(), calibrating(nn.ModuleList(grids)):
        trained.rehearse(batches, _SEED)
    for grid, state in zip(grids, known):
        if not grid.seen:  # pictures never ask there
            grid.load_state_dict(state)
    freeze_ranges(trained.field)
