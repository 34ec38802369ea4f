"""Masks of zeros and ones that learn through straight-through estimators.

Source: Rho et al., "Masked wavelet representation for compact neural radiance fields" (CVPR 2023), equation 5, and for
the sampled variant Bengio et al., "Estimating or propagating gradients through stochastic neurons" (2013).
"""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from nerfcomp.compression.learned_pruning import PruningFunction, PruningHook

Variant = Literal["sigmoid", "sampled"]


class _Sampled(torch.autograd.Function):
    """Ones with given probabilities; their gradient is that of the sample, at most 1."""

    @staticmethod
    def forward(ctx: Any, probability: Tensor) -> Tensor:
        return (torch.rand_like(probability) < probability).to(probability.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return nn.functional.hardtanh(gradient)


class BinaryGate(PruningFunction):
    """Multiplies with 0 or 1; see `BinaryMask`.

    Attributes:
        gate: (decisions) ``M``, or the probabilities.
    """

    source: "BinaryMask"

    def __init__(self, shape: tuple[int, ...], source: "BinaryMask") -> None:
        super().__init__(shape, source)
        self.gate = nn.Parameter(torch.ones(shape))

    def openness(self) -> Tensor:
        """What is compared to the threshold."""
        return self.gate.sigmoid() if self.source.variant == "sigmoid" else self.gate

    def training_weight(self, weight: Tensor) -> Tensor:
        """Forward ``w [m >= t]`` with the gradients of ``w m``; sampled: ``w [u < p]``."""
        if self.source.variant == "sampled":
            mask: Tensor = _Sampled.apply(self.gate)  # type: ignore[no-untyped-call]
            return weight * mask
        soft = weight * self.openness()
        return soft + (weight * self.factor() - soft).detach()

    @torch.no_grad()
    def factor(self) -> Tensor:
        """Ones and zeros, by the threshold."""
        return (self.openness() >= self.source.threshold).to(self.gate.dtype)

    @torch.no_grad()
    def drop_rates(self) -> Tensor:
        """How closed the gates are."""
        return 1 - self.openness()

    def drop_loss(self) -> Tensor:
        """Sum of the absolute gates, weighted."""
        return self.source.drop_weight * self.gate.abs().sum()


class BinaryMask(PruningHook):
    """A mask of zeros and ones, learned.

    ``sigmoid``: ``m = sigmoid(M)``, M = 1 at first, keeps where ``m >= threshold``; above 0.731 all starts masked.
    ``sampled``: keeps with probability p, 1 at first, and in the end where ``p >= threshold``.

    Args:
        weights: Names of the weights, see `WeightHook`.
        variant: Which of them.
        threshold: See above.
        drop_weight: Weight of ``sum |M|``, or of ``sum |p|``.
        weight_decay: See `PruningHook`.
        channel_axis: Likewise.

    Example:
        >>> layer = nn.Linear(2, 1, bias=False)
        >>> BinaryMask(threshold=0.7).attach(layer)
        ['weight']
        >>> layer.parametrizations.weight[0].gate.data.copy_(torch.tensor([[1.0, 0.0]])).tolist()
        [[1.0, 0.0]]
        >>> int(layer.weight.count_nonzero())
        1
    """

    def __init__(
        self,
        weights: list[str] | None = None,
        variant: Variant = "sigmoid",
        threshold: float = 0.7,
        drop_weight: float = 1e-8,
        weight_decay: float = 1e-8,
        channel_axis: int | None = None,
    ) -> None:
        super().__init__(weights, threshold, drop_weight, weight_decay, channel_axis)
        if variant not in ("sigmoid", "sampled"):
            raise ValueError(f"BinaryMask knows the variants sigmoid and sampled, not {variant!r}.")
        self.variant = variant

    def function(self, layer: nn.Module) -> BinaryGate:
        """Open gates for a layer's weight."""
        return BinaryGate(self.shape(layer), self)

    def arguments(self) -> dict[str, Any]:
        """Constructor arguments as JSON values."""
        return {**super().arguments(), "variant": self.variant}
