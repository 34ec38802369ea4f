"""Local scaling adaptation (LSA): one trainable factor for each output row of a quantized weight.

``y = (s * W) x + b`` with the weight ``W`` (out, in) frozen at its quantized values and scales ``s`` (out, 1) that
start at 1. A few numbers win back much of what coarse quantization lost (Haase et al., "Encoder optimizations for the
NNR standard on neural network compression", ICIP 2021); ISO/IEC 15938-17 carries them and its decoders fold them.
"""

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from nerfcomp.compression.hooks import WeightHook


class RowScale(nn.Module):
    """Multiplies each row of a weight with its own factor.

    Args:
        rows: Number of rows.

    Attributes:
        scale: (rows, 1), all ones at first.
    """

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(rows, 1))

    def forward(self, weight: Tensor) -> Tensor:
        """Scale ``weight`` (rows, ...)."""
        return self.scale.view(-1, *[1] * (weight.dim() - 1)) * weight


class LocalScaling(WeightHook):
    """One factor for each output row of every linear layer."""

    def parametrization(self, weight: Tensor) -> RowScale:
        """Factors of 1 for the rows of ``weight`` (out, in)."""
        return RowScale(len(weight))


def named_scales(module: nn.Module) -> dict[str, nn.Parameter]:
    """Scales (out, 1) of a module by the name of the weight they belong to; none without local scaling.

    >>> layer = nn.Linear(3, 2)
    >>> LocalScaling().attach(layer)
    ['weight']
    >>> {name: tuple(scale.shape) for name, scale in named_scales(layer).items()}
    {'weight': (2, 1)}
    """
    found = {}
    for name, layer in module.named_modules():
        if parametrize.is_parametrized(layer, "weight"):
            for hook in layer.parametrizations.weight:
                if isinstance(hook, RowScale):
                    found[f"{name}.weight".removeprefix(".")] = hook.scale
    return found
