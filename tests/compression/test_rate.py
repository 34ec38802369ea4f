import math

import pytest
import torch

from nerfcomp.compression.rate import LARGEST, LevelRates, measure_rates, rate_gradient, round_to_step


def test_rounding_gives_what_a_decoder_returns() -> None:
    weight = torch.tensor([[0.24, -0.26], [1.9, -0.7]])
    assert torch.equal(round_to_step(weight, 0.5).abs(), torch.tensor([[0.0, 0.5], [2.0, 0.5]]))
    assert torch.equal(round_to_step(weight, 0.5, dead_zone=1.5).abs(), torch.tensor([[0.0, 0.0], [2.0, 0.0]]))


def test_bits_are_the_entropy_of_the_levels() -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(20000, 2, generator=generator) * torch.tensor([1.0, 3.0])
    expected = 0.0
    for column in weight.t():
        counts = torch.unique(torch.round(column), return_counts=True)[1].double()
        expected += float(-(counts * torch.log2(counts / counts.sum())).sum())
    assert measure_rates(weight, 1.0).bits == pytest.approx(expected, rel=2e-3)


def test_slopes_are_differences_of_bits_within_limits() -> None:
    share = 0.1
    weight = torch.zeros(10000)
    weight[: round(share * 10000)] = 1.0
    slopes = measure_rates(weight, 1.0).slopes
    assert slopes.shape == (1, LARGEST + 1)
    assert float(slopes[0, 0]) == pytest.approx(math.log2((1 - share) / share) + 1, abs=0.02)
    assert float(measure_rates(torch.zeros(99), 1.0).slopes[0, 0]) == 7.0  # all zero: others are still within reach
    assert float(measure_rates(torch.ones(99), 1.0).slopes[0, 0]) == 2.5  # no zero: there still is a way down


def test_the_gradient_pulls_towards_zero_by_the_slope() -> None:
    slopes = torch.stack([torch.full((LARGEST + 1,), 2.0), torch.full((LARGEST + 1,), 4.0)])
    found = rate_gradient(torch.tensor([[0.3, -0.3], [0.0, 9.0]]), 0.5, LevelRates(slopes, 0.0))
    assert found.tolist() == [[4.0, -8.0], [0.0, 8.0]]


@pytest.mark.slow
def test_training_with_the_gradient_spends_fewer_bits_for_little_error() -> None:
    target = torch.randn(4000, 1, generator=torch.Generator().manual_seed(1))
    sizes, errors = [], []
    for rd_lambda in (0.0, 0.15):
        weight = target.clone()
        for _ in range(300):
            rates = measure_rates(weight, 0.5)
            error = round_to_step(weight, 0.5) - target
            weight -= 0.1 * (2 * error + rd_lambda * rate_gradient(weight, 0.5, rates))
        sizes.append(measure_rates(weight, 0.5).bits)
        errors.append(float((round_to_step(weight, 0.5) - target).square().mean()))
    assert sizes[1] < 0.95 * sizes[0] and errors[1] < errors[0] + 0.15 * (sizes[0] - sizes[1]) / 4000
