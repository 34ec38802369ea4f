"""Bits that pull: a gradient of what they cost where an optimizer turns gradients, a proximal step elsewhere."""

from typing import Any

import pytest
import torch
from torch import nn

from nerfcomp.compression import RateAware
from nerfcomp.errors import SettingsError
from nerfcomp.optim import GridAdam, MuonAdam
from nerfcomp.rate_control.prices import Prices
from nerfcomp.rate_control.pulls import Rated, add_price, pull, rated_by

PRICES = Prices(bits=100.0, first=4.0, further=1.0, zeros=0.5)


def rated(optimizer: Any) -> Rated:
    torch.manual_seed(0)
    layer = nn.Linear(16, 16, bias=False)
    RateAware().attach(layer)
    made = optimizer(layer.parameters())
    (found,) = rated_by([made], layer).values()
    found.weight.data.copy_(torch.linspace(-1.0, 1.0, 256).view(16, 16))
    found.weight.grad = torch.zeros(16, 16)
    return found


def test_a_price_is_the_slope_of_what_levels_cost() -> None:
    each = rated(MuonAdam)
    assert each.weight.grad is not None and each.orthogonalized
    add_price(each, 0.5, PRICES, per_bit=0.01)
    weight, slope = each.weight.detach(), each.weight.grad
    assert torch.allclose(slope[weight > 0.5], torch.tensor(0.01 * 1.0 / 0.5))
    assert torch.allclose(slope[(weight > 0.25) & (weight < 0.5)], torch.tensor(0.01 * 4.0 / 0.5))
    within = weight.abs() < 0.25
    assert torch.allclose(slope[within], 0.01 * 4.0 / 0.5 * weight[within] / 0.25)
    assert torch.equal(slope.sign(), weight.sign())


def test_a_weight_gets_one_of_the_two() -> None:
    matrix, entry = rated(MuonAdam), rated(GridAdam)
    before = matrix.weight.detach().clone()
    pull(matrix, 0.5, PRICES, 0.01)
    assert torch.equal(matrix.weight, before)
    add_price(entry, 0.5, PRICES, 0.01)
    assert entry.weight.grad is not None and not entry.weight.grad.any()


def test_a_pull_moves_by_what_adam_would() -> None:
    each = rated(lambda params: GridAdam(params, lr=0.1))
    each.state.update(step=1, exp_avg_sq=torch.full((16, 16), 0.01 * (1 - 0.99)))  # gradients of 0.1
    before = each.weight.detach().clone()
    pull(each, 0.5, PRICES, per_bit=0.01)
    moved = (before - each.weight.detach())[before > 0.6]
    assert torch.allclose(moved, torch.tensor(0.1 * 0.01 * 1.0 / 0.5 / 0.1), rtol=1e-4)


def test_an_optimizer_that_keeps_no_squares_is_refused() -> None:
    with pytest.raises(SettingsError, match="choose GridAdam, MuonAdam"):
        rated(lambda params: torch.optim.SGD(params, lr=0.1))
    with pytest.raises(SettingsError, match="no optimizer"):
        rated(lambda params: torch.optim.Adam([nn.Parameter(torch.zeros(1))]))
