"""Convolutions on tensors whose channels come last: a 1x1 convolution is then one matrix product without any copy."""

import torch
from torch import Tensor, nn


class Pointwise(nn.Conv2d):
    """1x1 convolution.

    Args:
        channels: Channels in.
        width: Channels out.

    Example:
        >>> layer = Pointwise(2, 1)
        >>> _ = nn.init.ones_(layer.weight), nn.init.zeros_(layer.bias)
        >>> layer(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])).tolist()
        [[[[3.0], [7.0]]]]
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__(channels, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, h, w, channels) to (B, h, w, width)."""
        return nn.functional.linear(x, self.weight.flatten(1), self.bias)


class Upsampling(nn.ConvTranspose2d):
    """Transposed convolution that multiplies the resolution.

    Args:
        channels: Channels in.
        width: Channels out.
        factor: Factor of the resolution.
        kernel: Side of the kernel, ``factor`` or more by an even number.
    """

    def __init__(self, channels: int, width: int, factor: int, kernel: int) -> None:
        super().__init__(channels, width, kernel, factor, (kernel - factor) // 2)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """Map (B, h, w, channels) to (B, factor h, factor w, width)."""
        if self.kernel_size == self.stride:
            return self._apart(x)
        pixels = super().forward(x.permute(0, 3, 1, 2))
        return pixels.contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1)

    def _apart(self, x: Tensor) -> Tensor:
        """The same where pixels do not overlap: one matrix product, several times faster than the general case."""
        (batch, rows, columns, channels), (side, _) = x.shape, self.kernel_size
        weight = self.weight.permute(2, 3, 1, 0).reshape(-1, channels)
        assert self.bias is not None
        pixels = nn.functional.linear(x, weight, self.bias.repeat(side * side))
        pixels = pixels.view(batch, rows, columns, side, side, -1).transpose(2, 3)
        return pixels.reshape(batch, rows * side, columns * side, -1)
