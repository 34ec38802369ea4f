"""Rounding to levels and the pull of bits: numba against torch, and both against what they stand for."""

import pytest
import torch

from nerfcomp.codec import dequantize, quantize, step_size
from nerfcomp.kernels.rate import Pull, round_levels, shrink

SHAPES = [(1,), (17,), (33, 2), (40_001, 1)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", [None, 0, 2**40 + 3])
def test_numba_rounds_like_torch(shape: tuple[int, ...], seed: int | None) -> None:
    weight, ours, reference = torch.randn(shape), torch.empty(shape), torch.empty(shape)
    round_levels(weight, 0.3, ours, 0.6, seed, "numba")
    round_levels(weight, 0.3, reference, 0.6, seed, "torch")
    assert torch.equal(ours, reference)


@pytest.mark.parametrize("qp", [-37, -14, -9, 3])
def test_rounded_values_are_those_of_the_decoder(qp: int) -> None:
    weight, out = torch.randn(5000, generator=torch.Generator().manual_seed(0)), torch.empty(5000)
    round_levels(weight, step_size(qp), out)
    decoded = dequantize(quantize(weight.numpy(), qp, dependent=False))
    assert torch.equal(out, torch.from_numpy(decoded))


def test_noise_is_uniform_over_a_step_and_new_for_every_seed() -> None:
    weight, first, second = torch.full((50_000,), 2.0), torch.empty(50_000), torch.empty(50_000)
    round_levels(weight, 0.5, first, seed=1)
    round_levels(weight, 0.5, second, seed=2)
    noise = first - 2.0
    assert float(noise.abs().max()) <= 0.25
    assert float(noise.mean()) == pytest.approx(0.0, abs=3e-3)
    assert float(noise.var()) == pytest.approx(0.5**2 / 12, rel=0.02)
    assert abs(float(torch.corrcoef(torch.stack([noise, second - 2.0]))[0, 1])) < 0.02
    assert abs(float(torch.corrcoef(torch.stack([noise[1:], noise[:-1]]))[0, 1])) < 0.02


@pytest.mark.parametrize("shape", SHAPES)
def test_numba_shrinks_like_torch(shape: tuple[int, ...]) -> None:
    square = torch.rand(shape) * (torch.rand(shape) < 0.7)
    ours = torch.randn(shape)
    reference, pull = ours.clone(), Pull(0.05, 0.02, 1.1, 1e-8)
    shrink(ours, square, 0.3, pull, "numba")
    shrink(reference, square, 0.3, pull, "torch")
    torch.testing.assert_close(ours, reference, rtol=1e-5, atol=1e-6)


def test_shrinking_is_the_proximal_step_of_absolute_values() -> None:
    """The minimum of ``pull * abs(v) + sqrt(square) * (v - w)^2 / 2``, found by trying."""
    weight, square, pull = torch.tensor([0.9, -0.4, 0.02]), torch.tensor([4.0, 0.25, 1.0]), 0.05
    found = weight.clone()
    shrink(found, square, 100.0, Pull(pull, 0.0, 1.0, 0.0))
    tried = torch.linspace(-1, 1, 200_001, dtype=torch.float64).unsqueeze(1)
    costs = pull * tried.abs() + 0.5 * square.double().sqrt() * (tried - weight.double()) ** 2
    torch.testing.assert_close(found, tried[costs.argmin(0), 0].float(), rtol=0, atol=2e-5)


def test_a_step_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="above 0"):
        round_levels(torch.ones(1), 0.0, torch.ones(1))
