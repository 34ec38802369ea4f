"""What hooks that learn which weights to prune have in common.

While they learn, a weight is ``w * f`` with a factor of each method's own, noisy while training. A loss pushes factors
towards being dropped. In the end they *settle*: factors go into the stored weight, exact zeros among them, and from
then on the hook is a mask. Parameters and buffers stay the same ones throughout, so that optimizers, processes and
checkpoints see one structure.
"""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from nerfcomp.compression.hooked import hooked_weights
from nerfcomp.compression.hooks import WeightFunction, WeightHook, stored_weight


class PruningFunction(WeightFunction, ABC):
    """Base of the functions that learn what to prune.

    Attributes:
        keep: (decisions) False where a weight is zero, once settled.
        settled: Whether this is a mask by now.

    Args:
        shape: Shape of the decisions, which the weight's broadcasts over.
        source: The hook that made this.
    """

    coding = "baked"
    agreed = True  # buffers follow from parameters, which all processes share
    keep: Tensor
    settled: Tensor

    def __init__(self, shape: tuple[int, ...], source: "PruningHook") -> None:
        super().__init__()
        self.source = source
        self.register_buffer("keep", torch.ones(shape, dtype=torch.bool))
        self.register_buffer("settled", torch.tensor(False))

    def forward(self, weight: Tensor) -> Tensor:
        """The weight to compute with; out of training it is the one that settling would leave."""
        if self.settled:
            masked = weight.masked_fill(~self.keep, 0.0)
            # processes wait for a gradient of every parameter
            return masked + 0.0 * torch.stack([p.sum() for p in self.parameters()]).sum() if self.training else masked
        return self.training_weight(weight) if self.training else weight * self.factor()

    @abstractmethod
    def training_weight(self, weight: Tensor) -> Tensor:
        """The weight to train with, before settling."""

    @abstractmethod
    def factor(self) -> Tensor:
        """Factors (decisions) that the weight would get if this settled now, 0 where it is pruned; no gradients."""

    @abstractmethod
    def drop_rates(self) -> Tensor:
        """How close each decision is to being dropped, (decisions); no gradients."""

    @abstractmethod
    def drop_loss(self) -> Tensor:
        """What pushes towards dropping, weighted, to be added to a mean squared error."""

    def weight_loss(self, weight: Tensor) -> Tensor:
        """What keeps the stored ``weight`` small, weighted: otherwise it grows as its factors shrink."""
        return self.source.weight_decay * weight.square().sum()

    def after_step(self) -> None:
        """Note what a step has changed."""

    @torch.no_grad()
    def settle(self, weight: Tensor, keep: Tensor | None = None) -> None:
        """Put the factors into the stored ``weight``, in place, and be a mask from now on.

        Args:
            weight: What is stored.
            keep: (decisions) Decisions of another function instead of its own.
        """
        if self.settled:
            return
        factor = self.factor()
        self.keep.copy_(factor != 0 if keep is None else keep & (factor != 0))
        weight.copy_(torch.where(self.keep, weight * factor, 0.0))
        self.settled.fill_(True)

    def hook(self, weights: list[str]) -> WeightHook:
        """See `WeightFunction.hook`."""
        return type(self.source)(**{**self.source.arguments(), "weights": weights})


class PruningHook(WeightHook):
    """Base of the hooks that learn what to prune.

    Args:
        weights: Names of the weights, see `WeightHook`.
        threshold: From where on a weight is dropped; what it is compared to is each method's own.
        drop_weight: Weight of the loss that pushes towards dropping.
        weight_decay: Weight of the sum of the squared stored weights in the loss.
        channel_axis: Axis of the weight along which all entries share one decision; each has its own when absent.

    Raises:
        ValueError: A number out of range.
    """

    def __init__(
        self,
        weights: list[str] | None = None,
        threshold: float = 0.75,
        drop_weight: float = 1e-8,
        weight_decay: float = 1e-8,
        channel_axis: int | None = None,
    ) -> None:
        super().__init__(weights)
        if not (0 < threshold < 1 and drop_weight >= 0 and weight_decay >= 0):
            raise ValueError(
                f"{type(self).__name__} needs a threshold in (0, 1) and weights of losses that are not negative, got "
                f"{threshold}, {drop_weight} and {weight_decay}."
            )
        self.threshold, self.drop_weight, self.weight_decay = threshold, drop_weight, weight_decay
        self.channel_axis = channel_axis

    def shape(self, layer: nn.Module) -> tuple[int, ...]:
        """Shape of the decisions on a layer's weight.

        Raises:
            ValueError: The weight has no such axis.
        """
        shape = list(stored_weight(layer).shape)
        if self.channel_axis is not None:
            if not -len(shape) <= self.channel_axis < len(shape):
                raise ValueError(f"A weight of shape {shape} has no axis {self.channel_axis}: see channel_axis.")
            shape[self.channel_axis] = 1
        return tuple(shape)

    def arguments(self) -> dict[str, Any]:
        """Constructor arguments as JSON values."""
        own = {name: getattr(self, name) for name in ("threshold", "drop_weight", "weight_decay", "channel_axis")}
        return {**super().arguments(), **own}


def pruning_functions(module: nn.Module) -> dict[str, PruningFunction]:
    """Functions of a module that learn what to prune, by the names of their weights; of several on one the last."""
    functions = hooked_weights(module).items()
    return {name: each for name, some in functions for each in some if isinstance(each, PruningFunction)}
