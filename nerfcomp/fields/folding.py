"""Layers that take over what the layer behind them does."""

import torch
from torch import Tensor, nn

from nerfcomp.fields.batch_norm import BatchNorm
from nerfcomp.fields.channels_last import Pointwise, Upsampling
from nerfcomp.fields.integer import IntegerLayer


@torch.no_grad()
def merged_layers(up: nn.Module, rgb: Pointwise) -> tuple[Tensor, Tensor]:
    """Weight and bias of a transposed convolution that does what two layers did."""
    assert isinstance(up, Upsampling)
    return torch.einsum("iokl,co->ickl", up.weight, rgb.weight.flatten(1)), rgb(up.bias)


@torch.no_grad()
def fold_norm(norm: BatchNorm, conv: Pointwise | IntegerLayer) -> None:
    """Let a convolution do what it did followed by a normalisation with running statistics, in place."""
    assert conv.bias is not None
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    if isinstance(conv, IntegerLayer):
        conv.scale.mul_(scale)
    else:
        conv.weight.mul_(scale[:, None, None, None])
    conv.bias.copy_(norm.bias + (conv.bias - norm.running_mean) * scale)
