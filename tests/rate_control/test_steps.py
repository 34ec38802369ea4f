"""Steps from what a bit may cost, against distortion and entropy as they are measured."""

import numpy as np
import pytest
import torch

from nerfcomp.codec import dequantize, estimate_bytes, quantize, step_size
from nerfcomp.rate_control.steps import qp_of, rate_qps


@pytest.mark.parametrize("dependent", [False, True])
def test_at_the_step_a_bit_buys_what_it_may_cost(dependent: bool) -> None:
    values = np.random.default_rng(0).normal(size=40_000).astype(np.float32)
    sensitivity, per_bit = 3.0, 2e-3

    def cost(qp: int) -> float:
        quantized = quantize(values, qp, dependent)
        error = sensitivity * float(np.square(dequantize(quantized) - values).sum())
        return error + per_bit * 8 * estimate_bytes(quantized)

    weights = {"w": torch.from_numpy(values)}
    qp = rate_qps(per_bit, weights, {"w": torch.full((40_000,), sensitivity)}, {}, dependent)["w"]
    best = min(range(qp - 8, qp + 9), key=cost)
    assert abs(best - qp) <= 1
    assert cost(qp) < cost(qp - 4) and cost(qp) < cost(qp + 4)


def test_every_step_finds_its_qp() -> None:
    assert [qp_of(step_size(qp)) for qp in range(-60, 41)] == list(range(-60, 41))


def test_errors_of_layers_stay_below_their_weights() -> None:
    weights, felt = {"layer": torch.full((50, 2), 0.3)}, {"layer": torch.full((50, 2), 1e-6)}
    assert step_size(rate_qps(1e-3, weights, felt, {})["layer"]) > 10
    assert 0.15 < step_size(rate_qps(1e-3, weights, felt, {}, layers=["layer"])["layer"]) <= 0.3


def test_weights_that_are_zero_and_weights_that_nobody_feels_decide_nothing() -> None:
    weights = {"w": torch.cat([torch.ones(500), torch.zeros(500)]), "unfelt": torch.ones(10)}
    felt = {"w": torch.cat([torch.full((500,), 4.0), torch.full((500,), 1e-3)]), "unfelt": torch.zeros(10)}
    alone = rate_qps(1e-3, {"w": torch.ones(500)}, {"w": torch.full((500,), 4.0)}, {"w": 0.5}, False)
    found = rate_qps(1e-3, weights, felt, {"w": 0.5, "unfelt": 0.5}, False)
    assert found["w"] == alone["w"]
    assert step_size(found["unfelt"]) > 100
