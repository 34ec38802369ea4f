"""Sparse variational dropout: factors with a learned noise; where noise drowns the factor the weight is not needed.

Notation: factors ``theta + sigma xi``, ``alpha = sigma^2 / theta^2``, drop rate ``p = alpha / (1 + alpha)``.

Source: Molchanov, Ashukha and Vetrov, "Variational dropout sparsifies deep neural networks" (ICML 2017), equation 14
for the divergence.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from nerfcomp.compression.learned_pruning import PruningFunction, PruningHook

_K1, _K2, _K3 = 0.63576, 1.8732, 1.48695
_MOST_WEIGHT = 30.0  # of the divergence, where its growth ends


def divergence(log_alpha: Tensor) -> Tensor:
    """Divergence between the factors' distribution and the log-uniform prior, elementwise, at least 0.

    Args:
        log_alpha: Logarithm of the ratio of variance to squared mean.

    >>> [round(v, 3) for v in divergence(torch.tensor([-4.0, 0.0, 4.0])).tolist()]
    [2.634, 0.431, 0.009]
    """
    signal = _K1 * torch.sigmoid(_K2 + _K3 * log_alpha)
    return _K1 - signal + 0.5 * nn.functional.softplus(-log_alpha)


class NoisyFactor(PruningFunction):
    """Multiplies with noisy factors; see `VariationalDropout`.

    Attributes:
        log_theta: (decisions) Logarithms of the means.
        log_variance: (decisions) Logarithms of the variances.
        divergence_weight: What the divergence counts at this step.
    """

    source: "VariationalDropout"
    divergence_weight: Tensor

    def __init__(self, shape: tuple[int, ...], source: "VariationalDropout") -> None:
        super().__init__(shape, source)
        self.log_theta = nn.Parameter(torch.zeros(shape))
        self.log_variance = nn.Parameter(torch.full(shape, math.log(source.rate / (1 - source.rate))))
        self.register_buffer("divergence_weight", torch.tensor(source.drop_weight))

    def log_alpha(self) -> Tensor:
        """Logarithms of the ratios of variance to squared mean."""
        return self.log_variance - 2 * self.log_theta

    def training_weight(self, weight: Tensor) -> Tensor:
        """Draw one factor per decision."""
        noise = torch.randn_like(self.log_theta)
        return weight * (self.log_theta.exp() + (0.5 * self.log_variance).exp() * noise)

    @torch.no_grad()
    def factor(self) -> Tensor:
        """Means where the drop rate is below the threshold, else 0."""
        return torch.where(self.drop_rates() < self.source.threshold, self.log_theta.exp(), 0.0)

    @torch.no_grad()
    def drop_rates(self) -> Tensor:
        """``p`` in (0, 1)."""
        return self.log_alpha().sigmoid()

    def drop_loss(self) -> Tensor:
        """Divergence, on the scale of a mean squared error."""
        return self.source.scale * self.divergence_weight * divergence(self.log_alpha()).sum()

    def weight_loss(self, weight: Tensor) -> Tensor:
        """Squared weights, on the scale of a mean squared error."""
        return self.source.scale * super().weight_loss(weight)

    @torch.no_grad()
    def after_step(self) -> None:
        """Let the divergence count a little more."""
        if self.divergence_weight <= _MOST_WEIGHT:
            self.divergence_weight *= 1 + self.source.growth


class VariationalDropout(PruningHook):
    """Noisy factors whose likelihood, divergence from a prior and squared weights are balanced.

    Of B points with errors e and noise s, ``-LL + DKL + W`` is, but for a factor and a constant, the mean of ``e^2``
    plus ``2 s^2 / B`` times divergence and squared weights; this is minimised, and the module's loss stays as it is.

    Args:
        weights: Names of the weights, see `WeightHook`.
        rate: Drop rate at first, in (0, 1).
        threshold: Drop rate from where on a weight is dropped.
        log_noise: ``log s``, on the scale of what the module is trained on.
        points: B, points of a step over all processes.
        drop_weight: Weight of the divergence at first.
        growth: How much this grows by with every step, until it is above 30.
        weight_decay: See `PruningHook`.
        channel_axis: Likewise.

    Raises:
        ValueError: A number out of range.
    """

    def __init__(
        self,
        weights: list[str] | None = None,
        rate: float = 0.1,
        threshold: float = 0.9,
        log_noise: float = -3.5,
        points: int = 32768,
        drop_weight: float = 1.0,
        growth: float = 5e-5,
        weight_decay: float = 2.0,
        channel_axis: int | None = None,
    ) -> None:
        super().__init__(weights, threshold, drop_weight, weight_decay, channel_axis)
        if not (0 < rate < 1 and points >= 1 and growth >= 0):
            raise ValueError(
                "VariationalDropout needs a rate in (0, 1), points >= 1 and growth >= 0, got "
                f"{rate}, {points} and {growth}."
            )
        self.rate, self.log_noise, self.points, self.growth = rate, log_noise, points, growth

    @property
    def scale(self) -> float:
        """From the negative logarithm of a likelihood to a mean squared error."""
        return 2 * math.exp(2 * self.log_noise) / self.points

    def function(self, layer: nn.Module) -> NoisyFactor:
        """Noisy factors for a layer's weight."""
        return NoisyFactor(self.shape(layer), self)

    def arguments(self) -> dict[str, Any]:
        """Constructor arguments as JSON values."""
        own = {name: getattr(self, name) for name in ("rate", "log_noise", "points", "growth")}
        return {**super().arguments(), **own}
