"""Both implementations of softplus against float64, and their derivatives."""

import pytest
import torch

from nerfcomp.kernels.softplus import softplus


@pytest.mark.parametrize("backend", ["torch", "numba"])
@pytest.mark.parametrize("beta", [1.0, 100.0])
def test_values_and_slopes_are_those_of_the_formula(backend: str, beta: float) -> None:
    x = torch.cat([torch.linspace(-40, 40, 9001) / beta, torch.tensor([0.0, 1e6, -1e6])]).requires_grad_()
    exact = x.detach().double().requires_grad_()
    wanted = torch.logaddexp(beta * exact, torch.zeros(())) / beta
    found = softplus(x, beta, backend)  # type: ignore[arg-type]
    assert float((found - wanted).abs()[:9001].max()) < 4e-6 / beta + 4e-6 * (beta == 1.0)
    assert found[-2] == 1e6 and 0.0 <= float(found[-1].detach()) < 1e-8
    weights = torch.randn(len(x), generator=torch.Generator().manual_seed(0))
    (slope,) = torch.autograd.grad((found * weights).sum(), x)
    (exact_slope,) = torch.autograd.grad((wanted * weights).sum(), exact)
    assert float((slope - exact_slope).abs().max()) < 4e-6 * float(weights.abs().max())


def test_slopes_can_be_differentiated_again() -> None:
    x = torch.linspace(-3, 3, 50).requires_grad_()
    (slope,) = torch.autograd.grad(softplus(x, 2.0, "numba").sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(slope.sum(), x)
    wide = x.detach().double()
    wanted = 2 * torch.sigmoid(2 * wide) * torch.sigmoid(-2 * wide)
    torch.testing.assert_close(second.double(), wanted, rtol=1e-5, atol=1e-6)


def test_strided_and_empty_tensors() -> None:
    x = torch.randn(40, 30, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(softplus(x.t(), 5.0, "numba"), softplus(x.t(), 5.0, "torch"))
    assert softplus(torch.zeros(0, 3), 5.0, "numba").shape == (0, 3)


def test_what_it_refuses() -> None:
    with pytest.raises(ValueError, match="beta above 0"):
        softplus(torch.zeros(1), 0.0)
    with pytest.raises(ValueError, match="backends auto"):
        softplus(torch.zeros(1), 1.0, "cuda")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="float32 on the CPU"):
        softplus(torch.zeros(1, dtype=torch.float64), 1.0, "numba")
