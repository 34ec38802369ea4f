"""Local scaling adaptation (LSA): one trainable factor for each output row of a quantized weight.

``y = (s * W) x + b`` with the weight ``W`` (out, in) frozen at its quantized values and scales ``s`` (out, 1) that
start at 1. A few numbers win back much of what coarse quantization lost (Haase et al., "Encoder optimizations for the
NNR standard on neural network compression", ICIP 2021); ISO/IEC 15938-17 carries them and its decoders fold them.
"""

import torch
from torch import Tensor, nn

from nerfcomp.compression.hooked import hooked_weights
from nerfcomp.compression.hooks import HookableLayer, WeightFunction, WeightHook, hookable_layers, stored_weight


class RowScale(WeightFunction):
    """Multiplies each row of a weight with its own factor.

    Args:
        rows: Number of rows.

    Attributes:
        scale: (rows, 1), all ones at first.
    """

    coding = "carried"

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(rows, 1))

    def forward(self, weight: Tensor) -> Tensor:
        """Scale ``weight`` (rows, ...)."""
        return self.scale.view(-1, *[1] * (weight.dim() - 1)) * weight

    def hook(self, weights: list[str]) -> WeightHook:
        """See `WeightFunction.hook`."""
        return LocalScaling(weights)

    def row_factors(self) -> Tensor:
        """The scales, (rows,)."""
        return self.scale.reshape(-1)


class LocalScaling(WeightHook):
    """One factor for each row of a weight.

    Args:
        weights: Names of the weights, see `WeightHook`; when absent those whose rows are outputs, which are the weights
            of all linear layers and convolutions.
    """

    def __init__(self, weights: list[str] | None = None) -> None:
        super().__init__(weights)
        self.only_outputs = weights is None

    def chosen(self, module: nn.Module) -> list[HookableLayer]:
        """Layers of ``module`` that are hooked; see `WeightHook.chosen`."""
        if not self.only_outputs:
            return super().chosen(module)
        found = [each for each in hookable_layers(module) if isinstance(each.layer, nn.Linear | nn.Conv2d)]
        if not found:
            raise ValueError(
                f"{type(module).__name__} has no linear layer and no convolution that LocalScaling could change."
            )
        return found

    def function(self, layer: nn.Module) -> RowScale:
        """Factors of 1 for the rows of a layer's weight.

        Raises:
            ValueError: The rows are not what the layer's biases belong to.
        """
        rows, bias = len(stored_weight(layer)), getattr(layer, "bias", None)
        if bias is not None and len(bias) != rows:
            raise ValueError(
                f"The {rows} rows of a {type(layer).__name__} are not its {len(bias)} outputs; leave its weight out of "
                "local scaling."
            )
        return RowScale(rows)


def named_scales(module: nn.Module) -> dict[str, nn.Parameter]:
    """Scales (out, 1) of a module by the name of the weight they belong to; none without local scaling.

    >>> layer = nn.Linear(3, 2)
    >>> LocalScaling().attach(layer)
    ['weight']
    >>> {name: tuple(scale.shape) for name, scale in named_scales(layer).items()}
    {'weight': (2, 1)}
    """
    functions = hooked_weights(module).items()
    return {name: function.scale for name, some in functions for function in some if isinstance(function, RowScale)}
