"""Parts of a light field: residual blocks of 1x1 convolutions, and stages that multiply the resolution.

Notation: ``B`` views; ``h x w`` blocks of pixels; channels come last.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from nerfcomp.fields.batch_norm import BatchNorm
from nerfcomp.fields.channels_last import Pointwise, Upsampling


class Residual(nn.Module):
    """``x + norm(conv(gelu(norm(conv(x)))))`` with 1x1 convolutions.

    Args:
        width: Channels in and out.
        inner: Channels in between.
        batch_norm: Normalise after each convolution.
    """

    def __init__(self, width: int, inner: int, batch_norm: bool) -> None:
        super().__init__()
        self.conv1 = Pointwise(width, inner)
        self.norm1 = BatchNorm(inner) if batch_norm else nn.Identity()
        self.conv2 = Pointwise(inner, width)
        self.norm2 = BatchNorm(width) if batch_norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, h, w, width) to the same shape."""
        inner = nn.functional.gelu(self.norm1(self.conv1(x)))
        out: Tensor = x + self.norm2(self.conv2(inner))
        return out


class Stage(nn.Module):
    """Transposed convolution that multiplies the resolution, then residual blocks.

    Args:
        channels: Channels in.
        width: Channels out.
        factor: Factor of the resolution.
        kernel: Side of the kernel: ``factor`` keeps blocks apart, ``2 * factor`` lets them overlap.
        inner: Inner channels of each residual block.
        batch_norm: Whether the blocks normalise.
    """

    def __init__(
        self, channels: int, width: int, factor: int, kernel: int, inner: Sequence[int], batch_norm: bool
    ) -> None:
        super().__init__()
        self.up = Upsampling(channels, width, factor, kernel)
        self.blocks = nn.ModuleList(Residual(width, inner_width, batch_norm) for inner_width in inner)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, h, w, channels) to (B, factor h, factor w, width)."""
        x = self.up(x)
        for block in self.blocks:
            x = block(x)
        return x
