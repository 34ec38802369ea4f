"""Linear layers whose input is joined from several tensors, and say so."""

from collections.abc import Sequence

from torch import nn


class JoinedLinear(nn.Linear):
    """A linear layer whose inputs come from different places, such as a skip connection.

    Args:
        parts: Widths of what is joined, in order.
        width: Outputs.
        bias: Whether there are biases.

    Attributes:
        parts: The widths: each of the parts has a range of its own where activations are quantized.

    >>> JoinedLinear([63, 256], 256).in_features
    319
    """

    def __init__(self, parts: Sequence[int], width: int, bias: bool = True) -> None:
        super().__init__(sum(parts), width, bias=bias)
        self.parts = tuple(part for part in parts if part)


def input_parts(layer: nn.Module) -> tuple[int, ...]:
    """Widths of the parts of a layer's input: one, unless the layer says otherwise.

    >>> input_parts(nn.Linear(3, 2)), input_parts(JoinedLinear([1, 2], 2))
    ((3,), (1, 2))
    """
    parts: tuple[int, ...] | None = getattr(layer, "parts", None)
    if parts is None:
        width = layer.in_channels if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) else layer.in_features
        assert isinstance(width, int)
        parts = (width,)
    return parts
