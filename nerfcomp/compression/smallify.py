"""Smallify: factors whose signs flip back and forth belong to weights that are not needed.

Source: Leclerc et al., "Smallify: learning network size while training" (2018); the sign's running variance with the
momentum of the published feature-grid networks.
"""

from typing import Any

import torch
from torch import Tensor, nn

from nerfcomp.compression.learned_pruning import PruningFunction, PruningHook


class SmallifyFactor(PruningFunction):
    """Multiplies with trained factors; see `Smallify`.

    Attributes:
        beta: (decisions) Factors.
        mean: (decisions) Running mean of their signs.
        variance: (decisions) Its running variance.
    """

    source: "Smallify"
    mean: Tensor
    variance: Tensor

    def __init__(self, shape: tuple[int, ...], source: "Smallify") -> None:
        super().__init__(shape, source)
        self.beta = nn.Parameter(torch.randn(shape) if source.random_start else torch.ones(shape))
        self.register_buffer("mean", self.beta.detach().sign())
        self.register_buffer("variance", torch.zeros(shape))

    def training_weight(self, weight: Tensor) -> Tensor:
        """``beta w``."""
        return self.beta * weight

    @torch.no_grad()
    def factor(self) -> Tensor:
        """``beta`` where its sign is steady, else 0."""
        return torch.where(self.variance < self.source.threshold, self.beta, 0.0)

    @torch.no_grad()
    def drop_rates(self) -> Tensor:
        """Variances of the signs."""
        return self.variance.clone()

    def drop_loss(self) -> Tensor:
        """Sum of the absolute factors, weighted."""
        return self.source.drop_weight * self.beta.abs().sum()

    @torch.no_grad()
    def after_step(self) -> None:
        """Follow the signs."""
        momentum = self.source.momentum
        change = self.beta.sign() - self.mean
        self.mean += momentum * change
        self.variance.copy_((1 - momentum) * (self.variance + momentum * change.square()))


class Smallify(PruningHook):
    """Factors under an absolute loss; those whose sign does not hold are dropped.

    Args:
        weights: Names of the weights, see `WeightHook`.
        momentum: Of the running mean and variance, in (0, 1].
        threshold: Variance from where on a factor is dropped.
        drop_weight: Weight of ``sum |beta|``.
        weight_decay: See `PruningHook`.
        channel_axis: Likewise.
        random_start: Factors start from a normal distribution, for weights that are untrained; else with 1.

    Raises:
        ValueError: A number out of range.
    """

    def __init__(
        self,
        weights: list[str] | None = None,
        momentum: float = 0.025,
        threshold: float = 0.75,
        drop_weight: float = 1e-8,
        weight_decay: float = 1e-8,
        channel_axis: int | None = None,
        random_start: bool = True,
    ) -> None:
        super().__init__(weights, threshold, drop_weight, weight_decay, channel_axis)
        if not 0 < momentum <= 1:
            raise ValueError(f"Smallify needs a momentum in (0, 1], got {momentum}.")
        self.momentum, self.random_start = momentum, random_start

    def function(self, layer: nn.Module) -> SmallifyFactor:
        """Factors for a layer's weight."""
        return SmallifyFactor(self.shape(layer), self)

    def arguments(self) -> dict[str, Any]:
        """Constructor arguments as JSON values."""
        return {**super().arguments(), "momentum": self.momentum, "random_start": self.random_start}
