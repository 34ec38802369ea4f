"""What changes how a module computes with its weights while it trains: hooks on tensors called ``weight``.

A hook is a torch parametrization: ``layer.weight`` becomes a function of the stored tensor, which the state dict then
calls ``layer.parametrizations.weight.original``. `bake` makes plain weights of what the hooks say.
"""

from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn.utils import parametrize

_PARAMETRIZED = ".parametrizations.weight."


class HookedLayer(NamedTuple):
    """A layer whose weight a hook may change."""

    name: str  # of the layer, as in named_modules()
    layer: nn.Module


def linear_layers(module: nn.Module) -> Iterator[HookedLayer]:
    """All linear layers of ``module``, itself included, in the order of its submodules.

    >>> [name for name, _ in linear_layers(nn.Sequential(nn.Linear(2, 3), nn.ReLU()))]
    ['0']
    """
    for name, layer in module.named_modules():
        if isinstance(layer, nn.Linear):
            yield HookedLayer(name, layer)


class WeightHook:
    """Base of the hooks. A subclass says which parametrization a weight gets."""

    def parametrization(self, weight: Tensor) -> nn.Module:
        """Make the module that maps ``weight`` (any shape) to what the layer computes with, of the same shape."""
        raise TypeError(f"{type(self).__name__} has no parametrization.")

    def attach(self, module: nn.Module) -> list[str]:
        """Hook the weights of all linear layers of ``module``, in place.

        Args:
            module: Any module.

        Returns:
            Names of the hooked weights, as they are called without hooks.

        Raises:
            ValueError: There is no linear layer.
        """
        layers = list(linear_layers(module))
        if not layers:
            raise ValueError(f"{type(module).__name__} has no linear layer that {type(self).__name__} could change.")
        for _, layer in layers:
            assert isinstance(layer.weight, Tensor)
            hook = self.parametrization(layer.weight).to(layer.weight.device)
            parametrize.register_parametrization(layer, "weight", hook)
        return [f"{name}.weight".removeprefix(".") for name, _ in layers]


def bake(module: nn.Module) -> None:
    """Replace hooked weights by what the hooks make of them and take the hooks off, in place.

    >>> class Double(nn.Module):
    ...     def forward(self, weight: Tensor) -> Tensor:
    ...         return 2 * weight
    >>> layer = nn.Linear(1, 1, bias=False)
    >>> _ = nn.init.ones_(layer.weight)
    >>> _ = parametrize.register_parametrization(layer, "weight", Double())
    >>> bake(layer)
    >>> dict(layer.named_parameters())
    {'weight': Parameter containing:
    tensor([[2.]], requires_grad=True)}
    """
    _remove(module, keep_effect=True)


def detach(module: nn.Module) -> None:
    """Take the hooks off, in place; weights are what they would be if the hooks had never been there."""
    _remove(module, keep_effect=False)


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
            original = owner.parametrizations.weight.original
            assert isinstance(original, nn.Parameter)
            found[f"{dot}weight"] = original
        found |= {f"{dot}{name}": parameter for name, parameter in owner.named_parameters(recurse=False)}
    return found


def _remove(module: nn.Module, keep_effect: bool) -> None:
    """Take hooks off; torch's own way would take them off all copies of the layer, too, as they share one class."""
    for layer in [layer for layer in module.modules() if parametrize.is_parametrized(layer, "weight")]:
        original = layer.parametrizations.weight.original  # type: ignore[union-attr]
        assert isinstance(layer.weight, Tensor) and isinstance(original, nn.Parameter)
        weight = nn.Parameter(layer.weight.detach()) if keep_effect else original
        layer.__class__ = type(layer).__bases__[0]
        del layer.parametrizations
        others = dict(layer._parameters)
        layer._parameters.clear()
        layer._parameters.update({"weight": weight, **others})
