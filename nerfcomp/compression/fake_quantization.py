"""Training for integers: layers compute with the values that 8 bits can hold, and learn to live with them.

The inputs of a layer lie on grids, one for each part, see `nerfcomp.compression.activation_grid`; the weights of one
output channel are ``scale * q`` for whole q up to ``2^(bits - 1) - 1`` in magnitude.

Sources: Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference"
(CVPR 2018), section 3; for steps that learn, Esser et al., "Learned Step Size Quantization" (ICLR 2020).
"""

from collections.abc import Sequence
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from nerfcomp.compression.activation_grid import ActivationGrid, Rounded, freeze_ranges
from nerfcomp.compression.hooked import hooked_weights
from nerfcomp.compression.hooks import HookableLayer, WeightFunction, WeightHook, stored_weight

Ranges = Literal["percentile", "learned"]
_CLIPS = torch.linspace(0.3, 1.0, 29)  # shares of the largest weight of a channel that are tried as its end
_LEAST = 1e-8


class FakeQuantizer(WeightFunction):
    """Brings the weights of each output channel to whole steps, and the inputs of its layer to their grids.

    Args:
        weight: The weight.
        channel: Its dimension that counts output channels.
        parts: Widths of the parts of the layer's input.
        made_by: The hook.

    Attributes:
        log_scale: Logarithm of the step of each channel, in the shape that multiplies the weight.
        inputs: Grids of the parts.
    """

    coding = "baked"

    def __init__(self, weight: Tensor, channel: int, parts: Sequence[int], made_by: "FakeQuantization") -> None:
        super().__init__()
        self.made_by = made_by
        self.channel = channel
        self.parts = list(parts)
        self.highest = 2.0 ** (made_by.bits - 1) - 1
        self.log_scale = nn.Parameter(self._best(weight).log())
        grids = [ActivationGrid(made_by.percentile, made_by.ranges == "learned") for _ in parts]
        self.inputs = nn.ModuleList(grids)

    def forward(self, weight: Tensor) -> Tensor:
        """Round ``weight``, which keeps its shape; before its layer has seen any input, it stays as it is."""
        if not self.awake:
            return weight + 0 * self.log_scale if self.training else weight  # processes expect a gradient
        zero = self.log_scale.new_zeros(())
        out: Tensor = Rounded.apply(  # type: ignore[no-untyped-call]
            weight, self.log_scale, zero, -self.highest, self.highest
        )
        return out

    def rounded_inputs(self, x: Tensor) -> Tensor:
        """Bring the input (..., channels) of the layer to the grids of its parts."""
        if len(self.parts) == 1:
            out: Tensor = self.inputs[0](x)
            return out
        return torch.cat([grid(part) for grid, part in zip(self.inputs, x.split(self.parts, -1))], -1)

    @property
    def grids(self) -> list[ActivationGrid]:
        """Grids of the parts."""
        return [grid for grid in self.inputs if isinstance(grid, ActivationGrid)]

    @property
    def awake(self) -> bool:
        """Whether the layer has seen any input, before which nothing is rounded."""
        return any(bool(grid.seen) for grid in self.grids)

    def begin(self, weight: Tensor) -> None:
        """Choose steps for another weight."""
        with torch.no_grad():
            self.log_scale.copy_(self._best(weight).log())

    @torch.no_grad()
    def integers(self, weight: Tensor) -> Tensor:
        """Levels int8 of a weight, in its shape."""
        levels = weight * (1 / self.log_scale.exp())
        return levels.clamp(-self.highest, self.highest).round().to(torch.int8)

    def hook(self, weights: list[str]) -> WeightHook:
        """See `WeightFunction.hook`."""
        return self.made_by.for_weights(weights)

    @torch.no_grad()
    def _best(self, weight: Tensor) -> Tensor:
        """Steps of least squared error: outliers may be cut off where that makes the others finer."""
        rest = [dim for dim in range(weight.dim()) if dim != self.channel]
        largest = weight.abs().amax(rest, keepdim=True).clamp(min=_LEAST)
        best, least = largest / self.highest, torch.full_like(largest, torch.inf)
        for clip in _CLIPS.to(weight.device):
            scale = largest * clip / self.highest
            levels = (weight / scale).clamp(-self.highest, self.highest).round()
            error = (levels * scale - weight).square().sum(rest, keepdim=True)
            best, least = torch.where(error < least, scale, best), torch.minimum(error, least)
        return best


class FakeQuantization(WeightHook):
    """Weights and inputs of linear layers and convolutions as integers of few bits; their outputs stay as they are.

    Args:
        weights: Names of the weights, see `WeightHook`; tables of grids are never chosen.
        bits: Of a weight, 2 to 8. Inputs have 8.
        ranges: Where the ranges of inputs come from: ``percentile`` moves them along with what is seen, ``learned``
            trains the step besides.
        percentile: See `ActivationGrid`.

    Raises:
        ValueError: A number out of range.

    Example:
        >>> layer = nn.Linear(2, 1, bias=False)
        >>> _ = layer.weight.data.copy_(torch.tensor([[3.0, -1.1]]))
        >>> FakeQuantization(bits=3).attach(layer)
        ['weight']
        >>> _ = layer(torch.ones(1, 2))  # until then it is as it was
        >>> torch.round(layer.weight.detach(), decimals=3).tolist()
        [[3.0, -1.0]]
    """

    def __init__(
        self,
        weights: list[str] | None = None,
        bits: int = 8,
        ranges: Ranges = "percentile",
        percentile: float = 99.999,
    ) -> None:
        super().__init__(weights)
        if type(bits) is not int or not 2 <= bits <= 8 or not 90 <= percentile <= 100:
            raise ValueError(f"Need 2 to 8 bits and a percentile of 90 to 100, got {bits} and {percentile}.")
        if ranges not in get_args(Ranges):
            raise ValueError(f"ranges is {ranges!r}, allowed are {', '.join(get_args(Ranges))}.")
        self.bits = bits
        self.ranges = ranges
        self.percentile = float(percentile)

    def chosen(self, module: nn.Module) -> list[HookableLayer]:
        """Layers whose weights match and that multiply their inputs with them."""
        products = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)
        found = [layer for layer in super().chosen(module) if isinstance(layer.layer, products)]
        if not found:
            raise ValueError(f"{type(module).__name__} has no linear layer or convolution among {self.weights}.")
        return found

    def function(self, layer: nn.Module) -> FakeQuantizer:
        """Steps for a layer's weight and grids for its inputs."""
        width = layer.in_channels if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) else layer.in_features
        parts = cast(Sequence[int], getattr(layer, "parts", (width,)))
        weight, channel = layer.weight, 1 if isinstance(layer, nn.ConvTranspose2d) else 0
        assert isinstance(weight, Tensor)
        return FakeQuantizer(weight.detach(), channel, parts, self)

    def attach(self, module: nn.Module) -> list[str]:
        """Hook weights, and inputs of their layers; see `WeightHook.attach`."""
        for _, layer in self.chosen(module):
            if _round_inputs not in layer._forward_pre_hooks.values():
                layer.register_forward_pre_hook(_round_inputs)
        return super().attach(module)

    def arguments(self) -> dict[str, Any]:
        """Constructor arguments as JSON values."""
        own = {"bits": self.bits, "ranges": self.ranges, "percentile": self.percentile}
        return {**super().arguments(), **own}

    def for_weights(self, weights: list[str]) -> "FakeQuantization":
        """The same for other weights."""
        return FakeQuantization(weights, self.bits, self.ranges, self.percentile)


def _round_inputs(layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
    """Before a layer computes: round what goes in, as long as its weight is hooked."""
    if not parametrize.is_parametrized(layer, "weight"):
        return None
    for function in layer.get_submodule("parametrizations.weight").children():
        if isinstance(function, FakeQuantizer):
            return (function.rounded_inputs(inputs[0]), *inputs[1:])
    return None


@torch.no_grad()
def wait_for_input(module: nn.Module, waiting: bool) -> None:
    """Let layers that have seen nothing yet compute without rounding, or begin with the weights that they have now."""
    for name, quantizer in quantizers(module).items():
        if quantizer.awake:
            continue
        freeze_ranges(quantizer, waiting)
        if not waiting:
            layer = module.get_submodule(name.removesuffix("weight").removesuffix("."))
            quantizer.begin(stored_weight(layer).detach())


def quantizers(module: nn.Module) -> dict[str, FakeQuantizer]:
    """Quantizers of a module by the names of the weights."""
    functions = hooked_weights(module).items()
    return {name: f for name, found in functions for f in found if isinstance(f, FakeQuantizer)}
