"""Hooks that learn what to prune, against the formulas of their papers written anew."""

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nerfcomp.compression import (
    BinaryMask,
    LocalScaling,
    PruningHook,
    Smallify,
    VariationalDropout,
    attach_described,
    bake,
    coded_weights,
    describe_hooks,
    plain_parameters,
    pruning_functions,
)

HOOKS: list[PruningHook] = [
    BinaryMask(channel_axis=0),
    BinaryMask(variant="sampled"),
    Smallify(channel_axis=0),
    Smallify(random_start=False),
    VariationalDropout(channel_axis=0),
    VariationalDropout(rate=0.3),
]


class Band(nn.Module):
    weight: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 7, 2, 2, 2))


class Bands(nn.Module):
    """A tensor of five axes, as the details of a wavelet transform, behind one of two."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 2)
        self.band = Band()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(x @ self.band.weight.flatten(1)[:, :4])
        return out


def hooked(hook: PruningHook) -> Bands:
    module = Bands()
    hook.weights = ["*.weight"]
    assert hook.attach(module) == ["head.weight", "band.weight"]
    for function in pruning_functions(module).values():
        for parameter in function.parameters():
            parameter.data += torch.randn_like(parameter)
    return module


def learned(module: nn.Module) -> dict[str, Any]:
    """Functions by name, with the parameters of their own kind."""
    return dict(pruning_functions(module))


def test_masks_pass_the_gradients_of_soft_ones() -> None:
    module = hooked(BinaryMask(threshold=0.6, channel_axis=0))
    function = learned(module)["band.weight"]
    gate, w = function.gate, plain_parameters(module)["band.weight"]
    assert isinstance(gate, Tensor) and gate.shape == (1, 7, 2, 2, 2)
    m, upstream = 1 / (1 + (-gate.detach()).exp()), torch.randn_like(w)
    out = module.band.weight
    torch.testing.assert_close(out, w * (m >= 0.6))
    assert bool((out[:, (m < 0.6)[0]] == 0).all())
    by_weight, by_gate = torch.autograd.grad((out * upstream).sum(), [w, gate])
    torch.testing.assert_close(by_weight, upstream * m)
    torch.testing.assert_close(by_gate, (upstream * w * m * (1 - m)).sum(0, keepdim=True))
    torch.testing.assert_close(function.drop_loss(), 1e-8 * gate.abs().sum())


def test_settled_masks_leave_kept_weights_as_they_are() -> None:
    """What is kept is multiplied with 1, not with the soft mask."""
    module = hooked(BinaryMask(threshold=0.6))
    function, w = learned(module)["band.weight"], plain_parameters(module)["band.weight"]
    before, kept = w.detach().clone(), function.gate.detach().sigmoid() >= 0.6
    function.settle(w.data)
    assert torch.equal(w, before * kept) and 0 < int(kept.sum()) < kept.numel()


def test_sampled_masks_have_clipped_gradients() -> None:
    module = hooked(BinaryMask(variant="sampled", channel_axis=0))
    gate = learned(module)["band.weight"].gate
    assert isinstance(gate, nn.Parameter)
    gate.data.uniform_(0, 1)
    w = plain_parameters(module)["band.weight"]
    draws = [module.band.weight for _ in range(400)]
    mask = [(draw != 0).float().mean(0, keepdim=True) for draw in draws]
    assert all(bool(((m == 0) | (m == 1)).all()) for m in mask)  # one decision for all channels
    assert (torch.stack(mask).mean(0) - gate.detach()).abs().max() < 0.12
    upstream = torch.randn_like(w)
    by_weight, by_gate = torch.autograd.grad((draws[0] * upstream).sum(), [w, gate])
    torch.testing.assert_close(by_weight, upstream * mask[0])
    torch.testing.assert_close(by_gate, (upstream * w).sum(0, keepdim=True).clamp(-1, 1))


def test_smallify_follows_signs() -> None:
    hook = Smallify(momentum=0.2, threshold=0.25, drop_weight=0.3, channel_axis=0)
    module = hooked(hook)
    function = learned(module)["band.weight"]
    beta, w = function.beta, plain_parameters(module)["band.weight"]
    assert isinstance(beta, nn.Parameter)
    mean, variance = function.mean.clone(), torch.zeros_like(beta)
    for _ in range(30):
        beta.data = torch.where(torch.arange(7).view(1, 7, 1, 1, 1) < 3, beta.abs(), torch.randn_like(beta))
        function.after_step()
        phi = beta.sign() - mean
        mean = mean + 0.2 * phi
        variance = 0.8 * (variance + 0.2 * phi**2)
    torch.testing.assert_close(function.drop_rates(), variance.detach())
    torch.testing.assert_close(module.band.weight, beta * w)
    torch.testing.assert_close(function.drop_loss(), 0.3 * beta.abs().sum())
    expected = (w * beta * (variance < 0.25)).detach()
    assert bool((expected[:, :3] != 0).all()) and bool((expected[:, 3:] == 0).any())
    assert torch.equal(module.eval().band.weight, expected)


def test_variational_dropout_balances_likelihood_divergence_and_weights() -> None:
    """Gradients of ``-(LL - DKL - W)`` of N voxels, but for one factor."""
    hook = VariationalDropout(log_noise=-2.0, points=64, drop_weight=0.7, weight_decay=0.4, channel_axis=0)
    module = hooked(hook)
    x, y, n, s = torch.randn(64, 4), torch.randn(64, 2), 1000.0, math.exp(-2.0)
    functions, stored = learned(module), plain_parameters(module)
    torch.manual_seed(0)
    error = (module(x) - y).square()
    ll = n / 64 * (-error / (2 * s * s) - (math.log(2 * math.pi) + 2 * math.log(s)) / 2).sum() / 2
    la = [f.log_variance - 2 * f.log_theta for f in functions.values()]
    kl = sum((-0.63576 * (1.8732 + 1.48695 * a).sigmoid() + 0.5 * (1 + (-a).exp()).log() + 0.63576).sum() for a in la)
    w = sum(stored[name].square().sum() for name in functions)
    reference = -(ll - n / 64 * 0.7 * kl - n / 64 * 0.4 * w)
    mine = error.mean() + sum(f.drop_loss() + f.weight_loss(stored[name]) for name, f in functions.items())
    parameters = list(module.parameters())
    a = torch.autograd.grad(reference, parameters, retain_graph=True)
    b = torch.autograd.grad(mine, parameters)
    for one, other in zip(a, b):
        torch.testing.assert_close(one * 2 * s * s / n, other, rtol=1e-4, atol=1e-6)


def test_noise_is_drawn_per_decision_and_grows_in_weight() -> None:
    hook = VariationalDropout(rate=0.3, threshold=0.6, drop_weight=29.0, growth=0.1, channel_axis=0)
    module = Bands()
    hook.attach(module)
    function = learned(module)["band.weight"]
    torch.testing.assert_close(function.drop_rates(), torch.full((1, 7, 2, 2, 2), 0.3))
    w = plain_parameters(module)["band.weight"]
    ratios = torch.stack([(module.band.weight / w).detach() for _ in range(2000)])
    torch.testing.assert_close(ratios[:, :1].expand_as(ratios), ratios)
    assert ratios.mean() == pytest.approx(1.0, abs=0.01)
    assert ratios.std() == pytest.approx(math.sqrt(0.3 / 0.7), abs=0.01)
    weights = []
    for _ in range(3):
        function.after_step()
        weights.append(float(function.divergence_weight))
    assert weights == pytest.approx([31.9, 31.9, 31.9])
    function.log_variance.data[0, 0] = math.log(1.6)
    assert int((module.eval().band.weight == 0).sum()) == 4 * 8


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: f"{type(hook).__name__}{hook.channel_axis}")
def test_pictures_files_and_settled_weights_are_the_same(hook: PruningHook) -> None:
    module = hooked(hook)
    LocalScaling(["head.weight"]).attach(module)
    coded = coded_weights(module)
    assert module.training and all(torch.equal(coded[name], again) for name, again in coded_weights(module).items())
    twin = copy.deepcopy(module)
    bake(twin)
    x = torch.randn(5, 4)
    torch.testing.assert_close(twin(x), module.eval()(x))
    rebuilt = Bands()
    attach_described(rebuilt, describe_hooks(module))
    rebuilt.load_state_dict(module.state_dict())
    assert describe_hooks(rebuilt) == describe_hooks(module)
    assert torch.equal(rebuilt.eval()(x), module(x))
    for name, function in learned(module).items():
        function.settle(plain_parameters(module)[name].data)
    torch.testing.assert_close(module(x), twin(x))
    zeros = {name: weight == 0 for name, weight in coded_weights(module).items()}
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.1)
    module.train()(x).square().sum().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())
    optimizer.step()
    assert all(bool((coded_weights(module)[name][zero] == 0).all()) for name, zero in zeros.items())
    rebuilt.load_state_dict(module.state_dict())
    assert torch.equal(rebuilt.eval()(x), module.eval()(x))


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="no axis 7"):
        Smallify(channel_axis=7).attach(Bands())
    with pytest.raises(ValueError, match="threshold in"):
        BinaryMask(threshold=1.5)
    with pytest.raises(ValueError, match="momentum"):
        Smallify(momentum=0.0)
    with pytest.raises(ValueError, match="rate in"):
        VariationalDropout(rate=1.0)
    with pytest.raises(ValueError, match="variants"):
        BinaryMask(variant="other")  # type: ignore[arg-type]
