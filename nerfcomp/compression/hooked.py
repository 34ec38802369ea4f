"""What hooks have made of a module: its plain parameters, the tensors to code, and taking hooks off."""

import copy
from collections.abc import Mapping
from typing import TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from nerfcomp.compression.hooks import WeightFunction, hookable_layers, stored_weight

M = TypeVar("M", bound=nn.Module)
_PARAMETRIZED = ".parametrizations.weight."


def functions_of(layer: nn.Module) -> list[WeightFunction]:
    """Functions that hooks have put on the weight of a layer, the first one first.

    Raises:
        ValueError: A parametrization is there that is none of ours.
    """
    if not parametrize.is_parametrized(layer, "weight"):
        return []
    found = list(layer.parametrizations.weight)  # type: ignore[union-attr, arg-type]
    for function in found:
        if not isinstance(function, WeightFunction):
            raise ValueError(
                f"A {type(layer).__name__} computes its weight through a {type(function).__name__}, of which neither "
                "checkpoints nor bitstreams know anything. Make it a WeightFunction of a WeightHook, or take it off."
            )
    return found


def hooked_weights(module: nn.Module) -> dict[str, list[WeightFunction]]:
    """Functions on the weights of a module, by the weights' names; weights without hooks are left out.

    Raises:
        ValueError: See `functions_of`.
    """
    found = {name: functions_of(layer) for name, layer in hookable_layers(module)}
    return {name: functions for name, functions in found.items() if functions}


def plain_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters by the names that they have without hooks, in that order; those of the hooks are left out.

    >>> list(plain_parameters(nn.Linear(1, 1)))
    ['weight', 'bias']
    """
    found = {}
    for prefix, owner in module.named_modules():
        if _PARAMETRIZED in f".{prefix}.":
            continue
        dot = f"{prefix}." if prefix else ""
        if parametrize.is_parametrized(owner, "weight"):
            found[f"{dot}weight"] = stored_weight(owner)
        found |= {f"{dot}{name}": parameter for name, parameter in owner.named_parameters(recurse=False)}
    return found


def ordered_parameters(module: nn.Module) -> list[nn.Parameter]:
    """All parameters, those of hooks last: optimizers keep their state by place, and hooks come while a run goes on.

    >>> layer = nn.Linear(2, 3)
    >>> before = ordered_parameters(layer)
    >>> _ = torch.nn.utils.parametrize.register_parametrization(layer, "weight", nn.Identity())
    >>> [a is b for a, b in zip(before, ordered_parameters(layer))]
    [True, True]
    """
    found = dict.fromkeys(plain_parameters(module).values())
    return list(found | dict.fromkeys(module.parameters()))


@torch.no_grad()
def load_plain(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load the state of a module without hooks into one with hooks, which begin with these weights.

    Raises:
        RuntimeError: Names or shapes differ.
    """
    hooked = hooked_weights(module)
    stem = "parametrizations.weight"
    renamed = {f"{key[:-6]}{stem}.original" if key in hooked else key: value for key, value in state.items()}
    of_hooks = {key: value for key, value in module.state_dict().items() if _PARAMETRIZED in f".{key}"}
    module.load_state_dict(of_hooks | renamed)
    for name, layer in hookable_layers(module):
        weight = stored_weight(layer).detach()
        for function in hooked.get(name, []):
            function.begin(weight)
            weight = function(weight)


def needs_baking(module: nn.Module) -> bool:
    """Whether a hook is there that a bitstream cannot carry.

    Raises:
        ValueError: A hook does not say how it is coded.
    """
    return any(_baked_count(functions) > 0 for functions in hooked_weights(module).values())


@torch.no_grad()
def coded_weights(module: nn.Module) -> dict[str, Tensor]:
    """Hooked weights as a bitstream holds them, by name: with all that is baked into them.

    Raises:
        ValueError: A hook does not say how it is coded.
    """
    return {
        name: _applied(layer, _baked_count(functions_of(layer)))
        for name, layer in hookable_layers(module)
        if functions_of(layer)
    }


@torch.no_grad()
def carried_factors(module: nn.Module) -> dict[str, Tensor]:
    """Factors (rows,) that a bitstream carries beside `coded_weights`, by the weights' names.

    Raises:
        ValueError: A hook does not say how it is coded.
    """
    found = {}
    for name, functions in hooked_weights(module).items():
        carried = [function.row_factors() for function in functions[_baked_count(functions) :]]
        if carried:
            found[name] = torch.stack(carried).prod(0)
    return found


def bake(module: nn.Module, keep_carried: bool = False) -> None:
    """Replace hooked weights by what the hooks make of them and take the hooks off, in place.

    Args:
        module: Any module.
        keep_carried: Leave on those hooks that a bitstream carries, and that none follows which it cannot.

    Raises:
        ValueError: With ``keep_carried``, a hook does not say how it is coded.

    >>> from nerfcomp.compression import Masking
    >>> layer = nn.Linear(2, 1, bias=False)
    >>> _ = layer.weight.data.copy_(torch.tensor([[0.0, 2.0]]))
    >>> _ = Masking().attach(layer)
    >>> bake(layer)
    >>> dict(layer.named_parameters())
    {'weight': Parameter containing:
    tensor([[0., 2.]], requires_grad=True)}
    """
    for _, layer in list(hookable_layers(module)):
        if parametrize.is_parametrized(layer, "weight"):
            every = list(layer.parametrizations.weight)  # type: ignore[union-attr, arg-type]
            count = _baked_count(functions_of(layer)) if keep_carried else len(every)
            if count:
                with torch.no_grad():
                    weight = nn.Parameter(_applied(layer, count), stored_weight(layer).requires_grad)
                _take_off(layer, weight)
                for function in every[count:]:
                    parametrize.register_parametrization(layer, "weight", function)


def detach(module: nn.Module) -> None:
    """Take the hooks off, in place; weights are what they would be if the hooks had never been there."""
    for _, layer in list(hookable_layers(module)):
        if parametrize.is_parametrized(layer, "weight"):
            _take_off(layer, stored_weight(layer))


def baked_copy(module: M, keep_carried: bool = False) -> M:
    """A copy with baked hooks; arguments and errors as of `bake`."""
    twin = copy.deepcopy(module)
    bake(twin, keep_carried)
    return twin


def _baked_count(functions: list[WeightFunction]) -> int:
    """How many of the functions of a weight a bitstream cannot carry: all up to the last one that is baked."""
    for function in functions:
        if function.coding not in ("carried", "baked"):
            raise ValueError(
                f"{type(function).__name__} says neither that bitstreams carry it nor that it is baked into the "
                "weight: set its `coding` to 'carried' or 'baked'."
            )
    return max((place + 1 for place, function in enumerate(functions) if function.coding == "baked"), default=0)


def evaluated(function: nn.Module, weight: Tensor) -> Tensor:
    """What a function makes of a weight when nothing trains; its state stays."""
    training = function.training
    try:
        return cast(Tensor, function.eval()(weight))
    finally:
        function.train(training)


def _applied(layer: nn.Module, count: int) -> Tensor:
    """What the first functions make of a layer's stored weight."""
    weight = stored_weight(layer).detach()
    for function in list(layer.parametrizations.weight)[:count]:  # type: ignore[union-attr, arg-type]
        weight = evaluated(function, weight)
    return weight


def _take_off(layer: nn.Module, weight: nn.Parameter) -> None:
    """Give a layer a plain weight; torch's own way would take hooks off all copies, too, as they share one class."""
    layer.__class__ = type(layer).__bases__[0]
    del layer.parametrizations
    others = dict(layer._parameters)
    layer._parameters.clear()
    layer._parameters.update({"weight": weight, **others})
