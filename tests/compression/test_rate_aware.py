"""The hook that rounds weights while they train: values, gradients, evaluation, description."""

import pytest
import torch
from torch import nn

from nerfcomp.compression import RateAware, attach_described, bake, describe_hooks, rated_weights
from nerfcomp.compression.hooks import stored_weight


def layer(values: list[float]) -> nn.Linear:
    made = nn.Linear(len(values), 1, bias=False)
    with torch.no_grad():
        made.weight.copy_(torch.tensor([values]))
    RateAware(dead_zone=0.6).attach(made)
    return made


def test_the_forward_pass_rounds_and_the_gradient_does_not_know() -> None:
    made = layer([0.29, 0.31, -1.1])
    rated_weights(made)["weight"].set("straight", 0.5)
    made(torch.tensor([[1.0, 2.0, 3.0]])).sum().backward()
    assert made.weight.tolist() == [[0.0, 0.5, -1.0]]
    grad = stored_weight(made).grad
    assert grad is not None and grad.tolist() == [[1.0, 2.0, 3.0]]


def test_values_follow_the_weight_the_step_and_the_seed() -> None:
    made = layer([0.9, 2.0])
    function, stored = rated_weights(made)["weight"], stored_weight(made)
    function.set("straight", 0.5)
    first = made.weight.detach().clone()
    with torch.no_grad():
        stored.add_(1.0)
    assert torch.equal(made.weight, first + 1.0)
    function.set("straight", 1.0)
    assert made.weight.tolist() == [[2.0, 3.0]]
    function.set("noise", 1.0)
    noisy = made.weight.detach().clone()
    assert torch.equal(made.weight, noisy)
    function.seed = 1
    assert not torch.equal(made.weight, noisy)


def test_decoded_weights_stand_still_and_evaluation_sees_the_stored_ones() -> None:
    made = layer([0.9, 2.1])
    function = rated_weights(made)["weight"]
    function.set("straight", 1.0)
    torch.testing.assert_close(made.eval().weight, torch.tensor([[0.9, 2.1]]))
    function.set("decoded", 1.0)
    assert not made.train().weight.requires_grad


def test_it_is_described_attached_anew_and_baked() -> None:
    made = layer([0.9])
    values = describe_hooks(made)
    again = nn.Linear(1, 1, bias=False)
    attach_described(again, values)
    assert describe_hooks(again) == values and values[0]["init_args"]["dead_zone"] == 0.6
    bake(made)
    assert not rated_weights(made) and float(made.weight) == pytest.approx(0.9)


def test_a_small_dead_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="dead zone"):
        RateAware(dead_zone=0.4)
