"""Fake quantization: the formulas of the papers, ranges that follow and freeze, and hooks that come back."""

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from nerfcomp.compression import (
    FakeQuantization,
    attach_described,
    bake,
    calibrating,
    describe_hooks,
    freeze_ranges,
    wait_for_input,
)
from nerfcomp.compression.activation_grid import ActivationGrid, Rounded
from nerfcomp.compression.fake_quantization import quantizers
from nerfcomp.compression.hooks import stored_weight


def test_gradients_are_those_of_the_paper() -> None:
    """Equation 3 of LSQ, times the step, as its logarithm is what is trained."""
    x = torch.tensor([-9.0, -0.74, 0.2, 0.6, 7.0], requires_grad=True)
    log_scale = torch.tensor(0.5).log().requires_grad_()
    y = Rounded.apply(x, log_scale, torch.zeros(()), -7.0, 7.0)  # type: ignore[no-untyped-call]
    y.backward(torch.tensor([1.0, 10.0, 100.0, 1000.0, 10000.0]))
    assert y.tolist() == [-3.5, -0.5, 0.0, 0.5, 3.5]
    assert x.grad is not None and x.grad.tolist() == [0.0, 10.0, 100.0, 1000.0, 0.0]
    slopes = [-7.0, -1 + 1.48, -0.4, 1 - 1.2, 7.0]  # the end beyond it, else round(v / s) - v / s
    expected = sum(0.5 * slope * 10.0**place for place, slope in enumerate(slopes))
    assert log_scale.grad is not None and float(log_scale.grad) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("bits", [8, 6, 4])
def test_weights_are_whole_steps_of_each_channel(bits: int) -> None:
    layer = nn.ConvTranspose2d(5, 3, 4)
    before = layer.weight.detach().clone()
    FakeQuantization(bits=bits).attach(layer)
    assert torch.equal(layer.weight, before), "nothing is rounded before any input was seen"
    layer(torch.rand(1, 5, 2, 2))
    (quantizer,) = quantizers(layer).values()
    steps = layer.weight / quantizer.log_scale.exp()
    assert quantizer.log_scale.shape == (1, 3, 1, 1)
    torch.testing.assert_close(steps, steps.round(), atol=1e-4, rtol=0)
    assert int(steps.abs().max().round()) <= 2 ** (bits - 1) - 1
    assert torch.equal(quantizer.integers(before).float(), steps.round())
    largest = before.abs().amax((0, 2, 3), keepdim=True) / (2 ** (bits - 1) - 1)
    naive = (before / largest).round() * largest
    assert (layer.weight - before).square().sum() <= (naive - before).square().sum()


def test_parts_of_an_input_have_ranges_of_their_own() -> None:
    layer = nn.Linear(5, 2)
    layer.parts = (2, 3)  # type: ignore[assignment]
    FakeQuantization().attach(layer)
    with calibrating(layer):
        layer(torch.cat([torch.linspace(-1, 1, 2000).view(-1, 2), torch.rand(1000, 3) * 50], 1))
    (quantizer,) = quantizers(layer).values()
    (small, zero), (large, none) = (grid.grid() for grid in quantizer.grids)
    assert small == pytest.approx(2 / 255, rel=0.01) and zero in (127, 128)
    assert large == pytest.approx(50 / 255, rel=0.01) and none == 0


def reference_layer(x: npt.NDArray[np.float64], layer: nn.Linear) -> npt.NDArray[np.float64]:
    """Section 2.1 of Jacob et al.: r = S (q - Z), with the whole range of inputs and of the weights of a channel."""
    weight, bias = (value.detach().double().numpy() for value in (layer.weight, layer.bias))
    low, high = min(x.min(), 0.0), max(x.max(), 0.0)
    step = (high - low) / 255
    zero = np.round(-low / step)
    inputs = step * (np.clip(np.round(x / step) + zero, 0, 255) - zero)
    weight_step = np.abs(weight).max(1, keepdims=True) / 127
    out: npt.NDArray[np.float64] = inputs @ (weight_step * np.round(weight / weight_step)).T + bias
    return out


def test_networks_are_as_close_as_with_the_formula_of_the_paper() -> None:
    """Also where one channel alone is large, and rows are as many as divide evenly."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4)).eval()
    with torch.no_grad():
        for weight in list(network.parameters())[:4:2]:
            weight[5] *= 20
    x = torch.randn(4096, 3)
    truth = network(x).detach()
    reference = x.double().numpy()
    for layer in network:
        reference = reference_layer(reference, layer) if isinstance(layer, nn.Linear) else np.maximum(reference, 0)
    FakeQuantization().attach(network)
    with torch.no_grad(), calibrating(network):
        ours = network(x)
    mine, theirs = ((value - truth).square().mean().sqrt() for value in (ours, torch.from_numpy(reference)))
    assert mine < 1.1 * theirs


def test_a_percentile_of_100_cuts_nothing_however_rare() -> None:
    layer = nn.Linear(64, 8)
    FakeQuantization(percentile=100.0).attach(layer)
    generator = torch.Generator().manual_seed(0)
    shown = [torch.rand(9000, 64, generator=generator) for _ in range(3)]
    shown[1][4321, 7], shown[2][1234, 5] = (
        5.0,
        -3.0,
    )  # rows that a sample of them misses, and only one of three calls has
    with calibrating(layer.eval()):
        for x in shown:
            layer(x)
    (grid,) = quantizers(layer)["weight"].grids
    assert (float(grid.low), float(grid.high)) == (-3.0, 5.0)


def test_ranges_follow_percentiles_and_freeze() -> None:
    grid = ActivationGrid(99.0, learned=False)
    values = torch.cat([torch.rand(9900), torch.full((100,), 1000.0)])
    grid(values)
    assert float(grid.low) == 0.0 and float(grid.high) <= 1000.0
    for _ in range(3):
        grid(torch.rand(10000))
    freeze_ranges(grid)
    before = float(grid.high)
    grid(torch.full((100,), 7.0))
    assert float(grid.high) == before
    grid.eval()
    freeze_ranges(grid, frozen=False)
    grid(torch.full((100,), 7.0))
    assert float(grid.high) == before, "evaluation must leave ranges alone"


def test_layers_wait_and_begin_with_the_weights_they_have_then() -> None:
    layer, x = nn.Linear(3, 2), torch.randn(50, 3)
    FakeQuantization().attach(layer)
    wait_for_input(layer, True)
    assert torch.equal(layer(x), nn.functional.linear(x, stored_weight(layer), layer.bias))
    layer(x).sum().backward()
    (quantizer,) = quantizers(layer).values()
    assert quantizer.log_scale.grad is not None and not quantizer.log_scale.grad.any()
    with torch.no_grad():
        stored_weight(layer).mul_(100)
    wait_for_input(layer, False)
    y, truth = layer(x), nn.functional.linear(x, stored_weight(layer), layer.bias)
    assert not torch.equal(y, truth)
    assert (y - truth).abs().max() < 0.02 * truth.abs().max(), "steps are those of the weights as they are now"


def test_frozen_learned_step_stands_still_under_momentum() -> None:
    grid = ActivationGrid(100.0, learned=True)
    optimizer = torch.optim.Adam(grid.parameters(), lr=0.1)

    def step() -> None:
        optimizer.zero_grad()
        (grid(torch.linspace(-1, 1, 99)) * 3).square().sum().backward()
        optimizer.step()

    step()
    step()
    freeze_ranges(grid)
    known = grid.grid()
    step()
    step()
    assert grid.grid() == known
    assert abs(float(grid.gain)) > 0


def test_tables_of_grids_are_left_alone() -> None:
    class Table(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.rand(4, 2))

    module = nn.Sequential(Table(), nn.Linear(2, 3))
    assert FakeQuantization().attach(module) == ["1.weight"]
    with pytest.raises(ValueError, match="no linear layer or convolution"):
        FakeQuantization(["0.weight"]).attach(nn.Sequential(Table()))


def test_hooks_are_described_and_come_back() -> None:
    def network() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))

    one, two, x = network(), network(), torch.randn(50, 3)
    FakeQuantization(["0.weight"], bits=4, ranges="learned").attach(one)
    one(x)
    attach_described(two, describe_hooks(one))
    two.load_state_dict(one.state_dict())
    assert torch.equal(one.eval()(x), two.eval()(x))


def test_nothing_is_rounded_once_hooks_are_off() -> None:
    layer, x = nn.Linear(3, 2), torch.randn(9, 3)
    FakeQuantization().attach(layer)
    layer(x)
    bake(layer)
    assert torch.equal(layer(x), nn.functional.linear(x, layer.weight, layer.bias))


@pytest.mark.parametrize("arguments", [{"bits": 1}, {"bits": 9}, {"percentile": 50.0}, {"ranges": "minmax"}])
def test_bad_arguments_are_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="Need 2 to 8 bits|allowed are percentile, learned"):
        FakeQuantization(**arguments)  # type: ignore[arg-type]
