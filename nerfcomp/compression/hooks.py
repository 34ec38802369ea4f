"""What changes how a module computes with its weights while it trains: hooks on tensors called ``weight``.

A hook is a torch parametrization: ``layer.weight`` becomes a function of the stored tensor, which the state dict then
calls ``layer.parametrizations.weight.original``. Several hooks on one weight follow each other in the order in which
they were attached. See `nerfcomp.compression.hooked` for what is on a module and how it comes off.

A new hook (fake quantization, pruning, ...) is a file with two classes:

1. a `WeightFunction`: ``forward(weight)`` gives the tensor to compute with, of the same shape. What it learns is a
   parameter, what it keeps a buffer: checkpoints and DDP know both. ``coding`` says what bitstreams do with it:
   ``baked`` (the tensor that ``forward`` gives is coded) or ``carried`` (`row_factors` are coded beside the weight).
2. a `WeightHook`, which a YAML file lists: ``function(layer)`` makes the function of one weight. ``arguments()`` gives
   its constructor's arguments beside ``weights`` as JSON values; the function's ``hook(weights)`` makes it again.

The class is added to ``HOOKS`` in `nerfcomp.compression.hook_descriptions`, which checkpoints may ask for. Pictures,
files and ``bake`` call ``forward`` in evaluation mode: make it deterministic there, and what a file is to hold. Set
``agreed`` if all processes compute the same buffers anyway; ``begin(weight)`` hears of weights that are loaded later.
"""

from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from typing import Any, ClassVar, Literal, NamedTuple

from torch import Tensor, nn
from torch.nn.utils import parametrize

Coding = Literal["carried", "baked"]
ALL_WEIGHTS = ("*.weight",)
_PARAMETRIZED = ".parametrizations."


class HookableLayer(NamedTuple):
    """A layer with a weight of two dimensions or more: linear, a convolution, the table of a grid's level."""

    name: str  # of the weight without hooks, as in named_parameters()
    layer: nn.Module


def hookable_layers(module: nn.Module) -> Iterator[HookableLayer]:
    """All layers of ``module``, itself included, whose weight a hook may change, in the order of its submodules.

    >>> [name for name, _ in hookable_layers(nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3), nn.Conv2d(2, 3, 1)))]
    ['0.weight', '2.weight']
    """
    for prefix, layer in module.named_modules():
        if _PARAMETRIZED in f".{prefix}." or not _has_weight(layer):
            continue
        if stored_weight(layer).dim() > 1:
            yield HookableLayer(f"{prefix}.weight".removeprefix("."), layer)


def stored_weight(layer: nn.Module) -> nn.Parameter:
    """The weight of a layer as it is stored, before any hook.

    Raises:
        ValueError: A parametrization that is no hook stores something else in its place.
    """
    hooked = parametrize.is_parametrized(layer, "weight")
    weight = getattr(layer.get_submodule("parametrizations.weight"), "original", None) if hooked else layer.weight
    if not isinstance(weight, nn.Parameter):
        raise ValueError(f"A {type(layer).__name__} stores its weight in parts; take that parametrization off.")
    return weight


def linear_layers(module: nn.Module) -> Iterator[HookableLayer]:
    """Those of the `hookable_layers` that are linear.

    >>> [name for name, _ in linear_layers(nn.Sequential(nn.Linear(2, 3), nn.ReLU()))]
    ['0.weight']
    """
    yield from (found for found in hookable_layers(module) if isinstance(found.layer, nn.Linear))


def matches(name: str, patterns: Sequence[str]) -> bool:
    """Whether patterns choose a name.

    Args:
        name: Of a weight.
        patterns: Names with ``*`` and ``?``; one starting with ``!`` takes names out again.

    >>> matches("body.0.weight", ["*.weight", "!rgb.*"]), matches("rgb.weight", ["*.weight", "!rgb.*"])
    (True, False)
    """
    dotted = f".{name}"  # lets *.weight match the weight of a layer that stands alone
    wanted = [pattern for pattern in patterns if not pattern.startswith("!")]
    unwanted = [pattern[1:] for pattern in patterns if pattern.startswith("!")]
    chosen, out = (any(fnmatch(name, p) or fnmatch(dotted, p) for p in some) for some in (wanted, unwanted))
    return chosen and not out


def chosen_layers(module: nn.Module, patterns: Sequence[str]) -> list[HookableLayer]:
    """Layers whose weights match patterns.

    Args:
        module: Any module, hooked or not.
        patterns: See `matches`.

    Raises:
        ValueError: None matches.
    """
    layers = list(hookable_layers(module))
    found = [layer for layer in layers if matches(layer.name, patterns)]
    if not found:
        names = [layer.name for layer in layers]
        raise ValueError(f"No weight matches {list(patterns)}; {type(module).__name__} has {names[:6]} and so on.")
    return found


def chosen_weights(module: nn.Module, patterns: Sequence[str]) -> dict[str, nn.Parameter]:
    """Stored weights whose names match; arguments and errors as of `chosen_layers`.

    >>> net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    >>> list(chosen_weights(net, ["*.weight", "!1.*"]))
    ['0.weight']
    """
    return {name: stored_weight(layer) for name, layer in chosen_layers(module, patterns)}


class WeightFunction(nn.Module):
    """What a hook makes of one weight: maps the stored tensor to the one that the layer computes with.

    Attributes:
        coding: How a bitstream holds it: ``carried`` beside the weight as a factor for each of its rows, or ``baked``
            into the weight before it is coded. One that does not say cannot be encoded.
    """

    coding: ClassVar[Coding | None] = None

    def hook(self, weights: list[str]) -> "WeightHook":
        """The hook that makes such functions for the weights of these names; checkpoints describe it."""
        raise TypeError(f"{type(self).__name__} does not say which hook made it.")

    def begin(self, weight: Tensor) -> None:
        """Begin anew with a weight (rows, ...) that was not there when this was attached."""

    def row_factors(self) -> Tensor:
        """Factors (rows,) that a bitstream carries."""
        raise TypeError(f"{type(self).__name__} has no factors to carry.")


class WeightHook:
    """Base of the hooks. A subclass says which `WeightFunction` a weight gets.

    Args:
        weights: Names of the weights that are hooked, with ``*`` and ``?``; a ``!`` in front takes names out. All
            when absent.

    Raises:
        ValueError: Something else than names.
    """

    def __init__(self, weights: list[str] | None = None) -> None:
        if weights is not None and not (isinstance(weights, list) and all(isinstance(name, str) for name in weights)):
            raise ValueError(f"{type(self).__name__} needs a list of names of weights, got {str(weights)[:80]!r}.")
        self.weights = list(ALL_WEIGHTS) if weights is None else weights

    def function(self, layer: nn.Module) -> WeightFunction:
        """Make the function of the weight of ``layer``, which keeps its shape."""
        raise TypeError(f"{type(self).__name__} has no function of a weight.")

    def chosen(self, module: nn.Module) -> list[HookableLayer]:
        """Layers of ``module`` that are hooked.

        Raises:
            ValueError: There is none.
        """
        return chosen_layers(module, self.weights)

    def arguments(self) -> dict[str, Any]:
        """Constructor arguments as JSON values."""
        return {"weights": self.weights}

    def attach(self, module: nn.Module) -> list[str]:
        """Hook the chosen weights of ``module``, in place, behind the hooks that are there.

        Args:
            module: Any module.

        Returns:
            Names of the hooked weights, as they are called without hooks.

        Raises:
            ValueError: There is none, or one cannot have this hook.
        """
        functions = [(name, layer, self.function(layer)) for name, layer in self.chosen(module)]
        for _, layer, function in functions:
            register(layer, function)
        return [name for name, _, _ in functions]


def register(layer: nn.Module, function: WeightFunction) -> None:
    """Put a function on the weight of ``layer``, behind those that are there.

    Torch sets the stored parameter anew, after which processes that train together hear no more of its gradients; it
    gets another one to do that with.
    """
    stored = stored_weight(layer)
    if not parametrize.is_parametrized(layer, "weight"):
        layer.weight = nn.Parameter(stored.detach(), stored.requires_grad)
    parametrize.register_parametrization(layer, "weight", function.to(stored.device))
    layer.get_submodule("parametrizations.weight").original = stored


def _has_weight(layer: nn.Module) -> bool:
    """Whether a module has a trained tensor called weight, hooked or not."""
    return layer._parameters.get("weight") is not None or parametrize.is_parametrized(layer, "weight")
