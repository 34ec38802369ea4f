"""How bits pull on weights while they train, in the metric of whatever optimizer moves them.

Notation: ``first`` and ``further`` are the prices of a level below one step and beyond it, in bits (see
`nerfcomp.rate_control.prices`); ``per_bit`` what a bit may cost in loss. A weight costs ``price / step`` bits per unit.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from nerfcomp.compression import RatedWeight, plain_parameters, rated_weights
from nerfcomp.errors import SettingsError
from nerfcomp.kernels.rate import Pull, shrink
from nerfcomp.rate_control.prices import Prices


class Rated(NamedTuple):
    """A weight that is trained for few bits.

    Attributes:
        weight: The parameter.
        function: Its rounding.
        group: Of the optimizer.
        state: Of the optimizer; one of Adam's family keeps squared gradients there after its first step.
    """

    weight: nn.Parameter
    function: RatedWeight
    group: dict[str, Any]
    state: dict[str, Any]

    @property
    def orthogonalized(self) -> bool:
        """Whether the optimizer moves it along an orthogonalized gradient, in which bits take part before."""
        return self.group.get("momentum") is not None


def rated_by(optimizers: Sequence[Optimizer], field: nn.Module) -> dict[str, Rated]:
    """Find the weights of a field that are trained for few bits.

    Args:
        optimizers: `GridAdam`, `MuonAdam`, `torch.optim.Adam` or `torch.optim.AdamW`.
        field: Its hooked weights are looked for.

    Returns:
        Weights by their names.

    Raises:
        SettingsError: No optimizer trains one of them, or one that keeps too little.
    """
    stored, functions = plain_parameters(field), rated_weights(field)
    owners: dict[int, tuple[dict[str, Any], Mapping[Any, Any]]] = {
        id(parameter): (group, optimizer.state)
        for optimizer in optimizers
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    found = {}
    for name, function in functions.items():
        if id(stored[name]) not in owners:
            raise SettingsError(
                f"RateStage cannot train {name}: no optimizer of this run does. An average of weights is not "
                "trained; a student takes model.init_args.average: 0."
            )
        group, state = owners[id(stored[name])]
        if "betas" not in group:
            raise SettingsError(
                f"RateStage needs the squared gradients of {name}, which its optimizer does not keep: choose "
                "GridAdam, MuonAdam, torch.optim.Adam or torch.optim.AdamW."
            )
        found[name] = Rated(stored[name], function, group, state[stored[name]])
    return found


def pull(rated: Rated, step: float, prices: Prices, per_bit: float) -> None:
    """Pull one weight by its bits, in the metric of Adam; one that is orthogonalized stays.

    Args:
        rated: The weight.
        step: Its quantization step.
        prices: What its levels cost.
        per_bit: What a bit may cost.
    """
    group, square = rated.group, cast(Tensor | None, rated.state.get("exp_avg_sq"))
    if square is None:
        return
    amount = float(group["lr"]) * per_bit / step
    root_factor = 1.0 / math.sqrt(1.0 - group["betas"][1] ** int(rated.state["step"]))
    pulled = Pull(amount * prices.first, amount * prices.further, root_factor, float(group["eps"]))
    shrink(rated.weight, square, step, pulled)


@torch.no_grad()
def add_price(rated: Rated, step: float, prices: Prices, per_bit: float) -> None:
    """Add the gradient of the bits to that of a weight which is orthogonalized; others are pulled.

    Within half a step, where a weight counts as zero, the gradient fades, lest it change its sign from step to step.

    Args:
        rated: The weight.
        step: Its quantization step.
        prices: What its levels cost.
        per_bit: What a bit may cost.
    """
    if not rated.orthogonalized or rated.weight.grad is None:
        return
    size = rated.weight.abs()
    price = torch.where(size < step, prices.first, prices.further) * (size * (2.0 / step)).clamp(max=1.0)
    rated.weight.grad.addcmul_(rated.weight.sign(), price, value=per_bit / step)
