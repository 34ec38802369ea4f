"""Weights that compute with what a decoder will return, while training pays for their bits.

While a stage is young, noise stands for rounding; afterwards weights are rounded in the forward pass and their gradient
is passed straight through (Bengio et al., 2013; for both see Ballé et al., "Nonlinear transform coding", 2020, section
III). The callback `RateStage` sets steps, charges the bits and ends with values that the file holds.
"""

from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from nerfcomp.compression.hooked import hooked_weights
from nerfcomp.compression.hooks import WeightFunction, WeightHook, stored_weight
from nerfcomp.kernels.rate import round_levels

Rounding = Literal["none", "noise", "straight", "decoded"]
_ROUNDINGS = get_args(Rounding)


class _Straight(torch.autograd.Function):
    """Other values, the same gradient."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, values: Tensor) -> Tensor:
        """Give ``values``."""
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        """Pass the gradient on."""
        return grad, None


class RatedWeight(WeightFunction):
    """Rounds a weight while it trains; in evaluation it is what it is.

    Args:
        weight: The weight.
        source: The hook.

    Attributes:
        step: Distance of the values that a decoder may return; 0 before it is known.
        rounding: Which of none, noise, straight (rounded, gradient passed through), decoded (weights hold values of the
            decoder and stand still).
        seed: Of the noise; whoever trains sets another one in every step.
    """

    coding = "baked"
    agreed = True  # on every process
    step: Tensor
    stage: Tensor

    def __init__(self, weight: Tensor, source: "RateAware") -> None:
        super().__init__()
        self.source = source
        self.register_buffer("step", torch.zeros((), dtype=torch.float64))
        self.register_buffer("stage", torch.zeros((), dtype=torch.int64))
        self.seed = 0
        self._values: Tensor | None = None
        self._known = (-1, -1)

    @property
    def rounding(self) -> Rounding:
        """What the forward pass does."""
        kind: Rounding = _ROUNDINGS[int(self.stage)]
        return kind

    def set(self, rounding: Rounding, step: float) -> None:
        """Change the rounding and the step."""
        self.stage.fill_(_ROUNDINGS.index(rounding))
        self.step.fill_(step)
        self._known = (-1, -1)

    def forward(self, weight: Tensor) -> Tensor:
        """The tensor (rows, ...) to compute with."""
        if self.rounding == "decoded":
            return weight.detach() if self.training else weight
        if not self.training or self.rounding == "none":
            return weight
        out: Tensor = _Straight.apply(weight, self._rounded(weight))  # type: ignore[no-untyped-call]
        return out

    def _rounded(self, weight: Tensor) -> Tensor:
        """Values of this step; computed once, however often the weight is asked for."""
        known = (weight._version, self.seed)
        if self._values is None or self._values.shape != weight.shape or self._values.device != weight.device:
            self._values, self._known = torch.empty_like(weight), (-1, -1)
        if known != self._known:
            seed = self.seed if self.rounding == "noise" else None
            round_levels(weight.detach(), float(self.step), self._values, self.source.dead_zone, seed)
            self._known = known
        return self._values

    def hook(self, weights: list[str]) -> WeightHook:
        """See `WeightFunction.hook`."""
        return RateAware(weights, self.source.dead_zone)


class RateAware(WeightHook):
    """Training for few bits; needs the callback `RateStage`.

    Args:
        weights: Names of the weights, see `WeightHook`.
        dead_zone: Weights nearer to 0 than this many steps count as 0; at least 0.5.

    Raises:
        ValueError: A smaller dead zone.

    Example:
        >>> layer = nn.Linear(2, 1, bias=False)
        >>> _ = layer.weight.data.copy_(torch.tensor([[0.9, -0.2]]))
        >>> _ = RateAware().attach(layer)
        >>> rated_weights(layer)["weight"].set("straight", 0.5)
        >>> layer.weight.tolist()
        [[1.0, 0.0]]
    """

    def __init__(self, weights: list[str] | None = None, dead_zone: float = 0.5) -> None:
        super().__init__(weights)
        if not 0.5 <= dead_zone <= 2.0:
            raise ValueError(f"RateAware has a dead zone of 0.5 to 2 steps, got {dead_zone}.")
        self.dead_zone = dead_zone

    def function(self, layer: nn.Module) -> RatedWeight:
        """The rounding of a layer's weight."""
        return RatedWeight(stored_weight(layer), self)

    def arguments(self) -> dict[str, Any]:
        """Constructor arguments as JSON values."""
        return {**super().arguments(), "dead_zone": self.dead_zone}


def rated_weights(module: nn.Module) -> dict[str, RatedWeight]:
    """Functions of a module that round weights for few bits, by the names of the weights."""
    functions = hooked_weights(module).items()
    return {name: each for name, some in functions for each in some if isinstance(each, RatedWeight)}
