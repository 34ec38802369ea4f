"""Layers that multiply integers, in the place of linear layers and convolutions.

Notation as in `nerfcomp.kernels.int8_linear`. The input of a layer is one tensor or is joined from several *parts*,
each with a grid of its own.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nerfcomp.fields.channels_last import Pointwise, Upsampling
from nerfcomp.fields.joined import input_parts
from nerfcomp.kernels.int8_linear import Grid, PackedWeight, int8_linear, int8_linear_twice, pack, quantize


class IntegerLayer(nn.Module):
    """A linear layer on integers, in evaluation.

    Args:
        layer: The layer that it stands for: linear, `Pointwise` or `Upsampling`.
        grids: Of the parts of its input.

    Attributes:
        weight: int8, in the shape of the layer's weight.
        scale: (channels,) float32, of one step of the weights of each output channel.
        bias: (channels,) float32, if the layer has biases.
        grids: Of the parts of the input.

    Raises:
        ValueError: A layer of another kind, or as many grids as it has no parts.
    """

    bias: nn.Parameter | None

    def __init__(self, layer: nn.Module, grids: Sequence[Grid]) -> None:
        super().__init__()
        if not isinstance(layer, nn.Linear | Pointwise | Upsampling):
            raise ValueError(f"A {type(layer).__name__} has no form in integers.")
        self.parts = input_parts(layer)
        self.grids = tuple(grids)
        if len(self.parts) != len(self.grids):
            raise ValueError(f"A layer with {len(self.parts)} inputs needs as many grids, got {len(self.grids)}.")
        weight = layer.weight
        self.transposed = isinstance(layer, Upsampling)
        self.factor = layer.stride[0] if isinstance(layer, Upsampling) else 1
        channels = weight.shape[1] if self.transposed else weight.shape[0]
        self.weight = nn.Parameter(torch.zeros(weight.shape, dtype=torch.int8), requires_grad=False)
        self.scale = nn.Parameter(torch.ones(channels), requires_grad=False)
        bias = None if layer.bias is None else nn.Parameter(layer.bias.detach().clone(), requires_grad=False)
        self.register_parameter("bias", bias)
        self._packed: tuple[tuple[Any, ...], list[PackedWeight], Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Map float32 (..., channels) as the layer does that this stands for."""
        flat = x.reshape(-1, x.shape[-1]).float()
        parts = [self.quantized(part, place) for place, part in enumerate(flat.split(list(self.parts), 1))]
        y = self.products(parts)
        return self._pixels(y, x.shape) if self.transposed else y.view(*x.shape[:-1], -1)

    def quantized(self, x: Tensor, part: int = 0) -> Tensor:
        """Integers of a part (M, width) of the input."""
        return quantize(x, self.grids[part])

    def products(self, parts: Sequence[Tensor], relu: bool = False, target: Grid | None = None) -> Tensor:
        """Multiply integers, and put the result on the grid of the layer that follows.

        Args:
            parts: (M, width) uint8 each.
            relu: Whether negative results become zero.
            target: Grid of the result; float32 when absent.

        Returns:
            (M, outputs), all pixels that a transposed convolution makes of a place.
        """
        packed, total = self._summed(parts)
        return int8_linear(parts[-1], packed, total, relu, target)

    def products_twice(self, parts: Sequence[Tensor], relu: bool, targets: tuple[Grid, Grid]) -> tuple[Tensor, Tensor]:
        """`products` for two layers that follow, each with a grid of its own."""
        packed, total = self._summed(parts)
        return int8_linear_twice(parts[-1], packed, total, relu, targets)

    def _summed(self, parts: Sequence[Tensor]) -> tuple[PackedWeight, Tensor]:
        """Weights of the last part, and what bias and the parts before it add up to."""
        packed, total = self._prepared()
        for part, weights in zip(parts[:-1], packed):
            total = int8_linear(part, weights, total)
        return packed[-1], total

    def _prepared(self) -> tuple[list[PackedWeight], Tensor]:
        """Packed weights and biases, made anew when these have changed."""
        tensors = [self.weight, self.scale, *([] if self.bias is None else [self.bias])]
        state = tuple((tensor.data_ptr(), tensor._version) for tensor in tensors)
        if self._packed is None or self._packed[0] != state:
            matrix, scale, bias = self._matrix()
            places = [0, *torch.tensor(self.parts).cumsum(0).tolist()]
            blocks = [matrix[:, begin:end].contiguous() for begin, end in zip(places, places[1:])]
            self._packed = state, [pack(block, scale, grid) for block, grid in zip(blocks, self.grids)], bias
        return self._packed[1], self._packed[2]

    def _matrix(self) -> tuple[Tensor, Tensor, Tensor]:
        """Weights (outputs, inputs), their scales and biases."""
        scale, weight = self.scale.detach(), self.weight.detach()
        bias = torch.zeros_like(scale) if self.bias is None else self.bias.detach()
        if not self.transposed:
            return weight.flatten(1), scale, bias
        pixels = math.prod(weight.shape[2:])
        matrix = weight.permute(1, 2, 3, 0).reshape(-1, len(weight))
        apart = weight.shape[2] == self.factor
        bias = bias if apart else torch.zeros_like(bias)  # pixels that overlap get it once, in the end
        return matrix, scale.repeat_interleave(pixels), bias.repeat_interleave(pixels)

    def _pixels(self, y: Tensor, shape: torch.Size) -> Tensor:
        """Put what each place contributes to pixels together, (B, factor h, factor w, channels)."""
        batch, height, width, _ = shape
        kernel, padding = self.weight.shape[2], (self.weight.shape[2] - self.factor) // 2
        columns = y.view(batch, height * width, -1).transpose(1, 2)
        size = (height * self.factor, width * self.factor)
        pixels = nn.functional.fold(columns, size, kernel, padding=padding, stride=self.factor)
        if padding and self.bias is not None:
            pixels = pixels + self.bias[:, None, None]
        return pixels.permute(0, 2, 3, 1)


def all_integer(*layers: Any) -> bool:
    """Whether all of some layers multiply integers."""
    return all(isinstance(layer, IntegerLayer) for layer in layers)


def chain(x: Tensor, layers: Sequence[Any]) -> Tensor:
    """What integer layers with rectifiers between them say of float32 (M, inputs), without floats in between."""
    first = layers[0]
    parts = [first.quantized(part, place) for place, part in enumerate(x.split(list(first.parts), 1))]
    for layer, following in zip(layers, layers[1:]):
        parts = [layer.products(parts, relu=True, target=following.grids[0])]
    out: Tensor = layers[-1].products(parts)
    return out


def put_integer_layers(module: nn.Module, grids: Mapping[str, Sequence[Grid]]) -> None:
    """Replace layers of a module, in place; weights and scales are to be loaded.

    Args:
        module: Any module, without hooks.
        grids: Those of the parts of each layer's input, by the layer's name.

    Raises:
        ValueError: There is no such layer, or it has no form in integers.
    """
    for name, own in grids.items():
        parent, _, last = name.rpartition(".")
        try:
            owner = module.get_submodule(parent)
            layer = owner.get_submodule(last)
        except AttributeError as error:
            raise ValueError(f"{type(module).__name__} has no layer {name!r}.") from error
        setattr(owner, last, IntegerLayer(layer, own))


def integer_layers(module: nn.Module) -> dict[str, IntegerLayer]:
    """All integer layers of a module by name."""
    return {name: layer for name, layer in module.named_modules() if isinstance(layer, IntegerLayer)}
