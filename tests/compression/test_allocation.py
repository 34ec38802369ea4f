"""Sensitivity against the exact Jacobian, and allocation against its formula."""

import pytest
import torch
from torch import nn

from nerfcomp.codec.quantizers import step_size
from nerfcomp.compression import allocate_qp, largest_passing, measure_sensitivity


@pytest.mark.slow
def test_sensitivity_estimates_the_diagonal_of_the_gauss_newton_matrix() -> None:
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(5))
    mixing = torch.randn(40, 5)
    exact = (mixing**2).mean(0)  # y = mixing @ w: dy_j/dw_i = mixing_ji
    generator = torch.Generator().manual_seed(1)
    estimate = measure_sensitivity([lambda: mixing @ weight] * 4000, {"w": weight}, generator)["w"]
    torch.testing.assert_close(estimate, exact, rtol=0.1, atol=0.0)


def test_sensitivity_of_unread_weights_is_zero() -> None:
    read, unread = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(2))
    h = measure_sensitivity([lambda: read[:2] * 1.0], {"read": read, "unread": unread})
    assert h["read"][2] == 0 and h["read"][0] > 0 and torch.equal(h["unread"], torch.zeros(2))


def test_sensitivity_needs_a_batch() -> None:
    with pytest.raises(ValueError, match="at least one batch"):
        measure_sensitivity([], {})


def test_allocation_equalizes_the_distortion() -> None:
    torch.manual_seed(0)
    h = {name: torch.full((100,), 4.0**power) for name, power in (("a", -2), ("b", 0), ("c", 2))}
    qp = allocate_qp(-20, {name: torch.ones(100) for name in h}, h)
    steps = {name: 2.0 ** (qp[name] / 4) for name in h}
    products = [h[name][0].item() * steps[name] ** 2 for name in h]
    assert products == pytest.approx([products[0]] * 3)


def test_allocation_is_clipped_and_survives_unread_tensors() -> None:
    weights = {"a": torch.ones(4), "b": torch.ones(4), "dead": torch.ones(4)}
    h = {"a": torch.full((4,), 1e-20), "b": torch.full((4,), 1e20), "dead": torch.zeros(4)}
    assert allocate_qp(-20, weights, h, most_offset=8) == {"a": -12, "b": -28, "dead": -12}


@pytest.mark.parametrize("limit", [-10, -3, 0, 7])
def test_search_finds_the_border(limit: int) -> None:
    asked: list[int] = []
    assert largest_passing(lambda q: asked.append(q) or q <= limit, -10, 7) == limit  # type: ignore[func-returns-value]
    assert len(asked) <= 7


def test_search_says_when_nothing_passes() -> None:
    with pytest.raises(ValueError, match="none of the settings from -10 to 0"):
        largest_passing(lambda _: False, -10, 0)


def test_layers_keep_steps_below_their_weights() -> None:
    weights = {"deep": torch.full((8, 8), 0.05), "table": torch.full((8, 8), 0.05), "unfelt": torch.full((8, 8), 0.05)}
    felt = {name: torch.full((8, 8), 0.0 if name == "unfelt" else 1.0) for name in weights}
    found = allocate_qp(-4, weights, felt, layers=["deep", "unfelt"])
    assert found["table"] == -4 and found["unfelt"] > found["table"]
    assert step_size(found["deep"]) <= 0.05 < step_size(found["deep"] + 2)


def test_frozen_weights_are_measured_and_stay_frozen() -> None:
    weight = nn.Parameter(torch.tensor([3.0, 4.0]), requires_grad=False)
    with torch.no_grad():
        assert measure_sensitivity([lambda: 2.0 * weight[:1]], {"w": weight})["w"].tolist() == [4.0, 0.0]
    assert not weight.requires_grad
