"""Activations against torch's own, and fields whose colours have run into saturation."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from nerfcomp.fields import NeRFField, NGPField, RadianceField
from nerfcomp.fields.activations import color_activation, density_rectifier, truncated_exp
from nerfcomp.optim import GridAdam


def slope(x: float, direction: float, training: bool = True) -> float:
    """Gradient that arrives before the activation when one of ``direction`` comes from behind."""
    logit = torch.tensor([x], requires_grad=True)
    (grad,) = torch.autograd.grad(direction * color_activation(logit, training), logit)
    return float(grad) / direction


def test_colours_are_those_of_the_logistic_function() -> None:
    x = torch.linspace(-200, 200, 801)
    for training in (False, True):
        assert torch.equal(color_activation(x, training), torch.sigmoid(x))


@pytest.mark.parametrize("x", [-150.0, -6.0, 6.0, 150.0])
def test_saturated_colours_come_back_and_are_not_pushed_further(x: float) -> None:
    true = float(torch.sigmoid(torch.tensor(x, dtype=torch.float64)) * torch.sigmoid(torch.tensor(-x).double()))
    inward = -1.0 if x < 0 else 1.0  # descent on -y raises y
    assert slope(x, inward) == pytest.approx(0.05)
    assert slope(x, -inward) == pytest.approx(true, abs=1e-7)
    assert slope(x, inward, training=False) == pytest.approx(true, abs=1e-7)


@pytest.mark.parametrize("x", [-2.5, -0.3, 0.0, 1.0, 2.8])
def test_elsewhere_the_gradient_is_the_true_one(x: float) -> None:
    y = 1 / (1 + torch.tensor(-x).exp())
    for direction in (-2.0, 3.0):
        assert slope(x, direction) == pytest.approx(float(y * (1 - y)))


def test_second_derivatives_are_those_of_the_logistic_function() -> None:
    x = torch.linspace(-2, 2, 9, dtype=torch.float64, requires_grad=True)
    found, true = (
        torch.autograd.grad(torch.autograd.grad(y.sum(), x, create_graph=True)[0].sum(), x)[0]
        for y in (color_activation(x, True), torch.sigmoid(x))
    )
    torch.testing.assert_close(found, true)


def saturated_ngp(sign: float) -> tuple[RadianceField, nn.Parameter]:
    field = NGPField(levels=2, log2_table_size=8, finest_resolution=16, hidden_width=16)
    last = field.rgb_mlp.get_parameter("layers.2.weight")
    nn.init.constant_(last, sign * 1e4)
    return field, last


def saturated_nerf(sign: float) -> tuple[RadianceField, nn.Parameter]:
    field = NeRFField(depth=2, width=16, skips=[], position_frequencies=2, direction_frequencies=1)
    last = field.networks[-1].get_parameter("rgb_linear.bias")
    nn.init.constant_(last, sign * 150.0)
    return field, last


@pytest.mark.slow
@pytest.mark.parametrize("sign", [-1.0, 1.0])
@pytest.mark.parametrize(("make", "rate"), [(saturated_ngp, 200.0), (saturated_nerf, 4.0)])
def test_a_field_driven_to_black_or_white_still_learns_grey(
    make: Callable[[float], tuple[RadianceField, nn.Parameter]], rate: float, sign: float
) -> None:
    torch.manual_seed(0)
    field, last = make(sign)
    x, d, dt = torch.rand(64, 3), nn.functional.normalize(torch.randn(64, 3), dim=1), torch.ones(64)

    def error() -> Tensor:
        return (field.shade(x, d, dt).rgb - 0.4).square().mean()

    optimizer, errors = GridAdam([last], lr=rate), []
    for _ in range(80):
        optimizer.zero_grad()
        loss = error()
        loss.backward()
        optimizer.step()
        errors.append(float(loss.detach()))
    assert errors[0] > 0.1 and min(errors) < 0.03


def test_truncated_exp_bounds_the_gradient_only() -> None:
    x = torch.tensor([-20.0, 0.0, 3.0, 20.0], requires_grad=True)
    y = truncated_exp(x)
    y.sum().backward()
    torch.testing.assert_close(y.detach(), x.detach().exp())
    assert x.grad is not None
    torch.testing.assert_close(x.grad, x.detach().clamp(-15, 15).exp())


def test_densities_are_those_of_the_rectifier() -> None:
    x = torch.linspace(-9, 9, 19)
    for training in (False, True):
        assert torch.equal(density_rectifier(x, training), torch.relu(x))


@pytest.mark.parametrize(("x", "asked", "expected"), [(-4.0, 2.0, 0.25), (-4.0, -2.0, 0.0), (4.0, -2.0, -2.0)])
def test_gradients_pass_below_zero_where_they_ask_for_density(x: float, asked: float, expected: float) -> None:
    for training in (True, False):
        raw = torch.tensor([x], requires_grad=True)
        (grad,) = torch.autograd.grad(-asked * density_rectifier(raw, training), raw)
        assert float(-grad) == (expected if training or x > 0 else 0.0)


@pytest.mark.parametrize("network", ["model", "model_fine"])
def test_a_network_without_any_density_comes_back(network: str) -> None:
    """Losses that ask for emptiness can silence a young network everywhere; it must not stay blank for ever."""
    torch.manual_seed(0)
    field = NeRFField(depth=2, width=16, skips=[], position_frequencies=2, direction_frequencies=1)
    nn.init.constant_(field.get_parameter(f"{network}.alpha_linear.bias"), -3.0)
    x, d, dt = torch.rand(64, 3), nn.functional.normalize(torch.randn(64, 3), dim=1), torch.ones(64)
    shade = field.shade if network == "model_fine" else field.coarse_shade
    assert shade(x, d, dt).alpha.max() == 0
    optimizer = torch.optim.Adam(field.parameters(), lr=3e-2)
    for _ in range(60):
        optimizer.zero_grad()
        (shade(x, d, dt).alpha - 0.8).square().mean().backward()
        optimizer.step()
    assert (shade(x, d, dt).alpha - 0.8).abs().mean() < 0.2
