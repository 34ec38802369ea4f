"""Masks: a hook under which weights that are zero stay zero, whatever an optimizer or an average does to them."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from nerfcomp.compression.hooked import hooked_weights, plain_parameters
from nerfcomp.compression.hooks import WeightFunction, WeightHook


class Mask(WeightFunction):
    """Sets weights to zero.

    Args:
        keep: (rows, ...) False where a weight is zero.

    Attributes:
        keep: The same, in checkpoints.
    """

    coding = "baked"
    agreed = True  # on every process
    keep: Tensor

    def __init__(self, keep: Tensor) -> None:
        super().__init__()
        self.register_buffer("keep", keep)

    def forward(self, weight: Tensor) -> Tensor:
        """Mask ``weight`` (rows, ...); where it is masked it gets no gradient."""
        return weight.masked_fill(~self.keep, 0.0)

    def begin(self, weight: Tensor) -> None:
        """Keep what is not zero."""
        self.keep.copy_(weight != 0)

    def hook(self, weights: list[str]) -> WeightHook:
        """See `WeightFunction.hook`."""
        return Masking(weights)


class Masking(WeightHook):
    """What is exactly zero when this is attached stays zero.

    Args:
        weights: Names of the weights, see `WeightHook`.

    Example:
        >>> layer = nn.Linear(2, 1, bias=False)
        >>> _ = layer.weight.data.copy_(torch.tensor([[0.0, 2.0]]))
        >>> Masking().attach(layer)
        ['weight']
        >>> _ = plain_parameters(layer)["weight"].data.add_(1.0)
        >>> layer.weight.tolist()
        [[0.0, 3.0]]
    """

    def __init__(self, weights: list[str] | None = None) -> None:
        super().__init__(weights)

    def function(self, layer: nn.Module) -> Mask:
        """The mask of a layer's zeros."""
        assert isinstance(layer.weight, Tensor)
        return Mask(layer.weight.detach() != 0)


def named_masks(module: nn.Module) -> dict[str, Tensor]:
    """Masks by the names of their weights, True where a weight is kept; of several on a weight the last."""
    functions = hooked_weights(module).items()
    return {name: function.keep for name, some in functions for function in some if isinstance(function, Mask)}


@torch.no_grad()
def hold_masks(module: nn.Module, masks: Mapping[str, Tensor]) -> None:
    """Mask weights from now on, in place, and set them to zero.

    Args:
        module: With masks on its weights, or without.
        masks: By the weights' names, True where a weight is kept. They take the place of those that are there.

    Raises:
        ValueError: There is no such weight.

    >>> layer = nn.Linear(2, 1, bias=False)
    >>> hold_masks(layer, {"weight": torch.tensor([[True, False]])})
    >>> int(layer.weight.count_nonzero())
    1
    """
    missing = [name for name in masks if name not in named_masks(module)]
    if missing:
        Masking(missing).attach(module)
    held, stored = named_masks(module), plain_parameters(module)
    for name, mask in masks.items():
        held[name].copy_(mask)
        stored[name].masked_fill_(~held[name], 0.0)
