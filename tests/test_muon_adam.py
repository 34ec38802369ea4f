"""MuonAdam as an optimizer."""

import pytest
import torch
from torch import nn

from nerfcomp.fields.channels_last import Pointwise
from nerfcomp.optim import GridAdam, MuonAdam


def deep_net(width: int = 32) -> nn.Sequential:
    torch.manual_seed(0)
    hidden = [layer for _ in range(3) for layer in (nn.Linear(width, width), nn.ReLU())]
    return nn.Sequential(nn.Linear(2, width), nn.ReLU(), *hidden, nn.Linear(width, 1))


def train(net: nn.Module, optimizer: torch.optim.Optimizer, steps: int, seed: int = 0) -> float:
    generator = torch.Generator().manual_seed(seed)
    losses: list[float] = []
    for _ in range(steps):
        x = torch.rand(256, 2, generator=generator) * 2 - 1
        loss = (net(x)[:, 0] - (9 * x[:, 0]).sin() * (7 * x[:, 1]).cos()).square().mean()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        losses.append(loss.item())
    return sum(losses[-10:]) / 10


@pytest.mark.slow
def test_learns_in_fewer_steps_than_adam() -> None:
    nets = [deep_net() for _ in range(3)]
    adam = [train(net, torch.optim.Adam(net.parameters(), lr=lr), 300) for net, lr in zip(nets, (3e-3, 1e-2))]
    assert train(nets[2], MuonAdam(nets[2].parameters(), lr=3e-2, adam_lr=3e-3), 300) < 0.5 * min(adam)


def test_only_matrices_are_orthogonalized() -> None:
    net = nn.ModuleList([nn.Linear(20, 30), Pointwise(20, 16), nn.Linear(20, 3), nn.Embedding(100, 2)])
    others, matrices = MuonAdam(net.parameters()).param_groups
    assert [tuple(value.shape) for value in matrices["params"]] == [(30, 20), (16, 20, 1, 1)]
    assert len(others["params"]) == 5


def test_a_step_has_the_size_that_is_asked_for() -> None:
    torch.manual_seed(0)
    weight = nn.Parameter(torch.zeros(64, 64))
    optimizer = MuonAdam([weight], lr=0.01)
    weight.grad = torch.randn(64, 64) * 1e-4
    optimizer.step()
    assert weight.detach().square().mean().sqrt().item() == pytest.approx(0.2 * 0.01, rel=0.2)
    assert (weight * weight.grad).sum() < 0


def test_decay_shrinks_matrices() -> None:
    weight = nn.Parameter(torch.ones(16, 16))
    optimizer = MuonAdam([weight], lr=0.1, weight_decay=0.5)
    weight.grad = torch.zeros(16, 16)
    optimizer.step()
    assert torch.allclose(weight, torch.full((16, 16), 0.95))


def test_the_rest_moves_as_by_grid_adam() -> None:
    ours, theirs = nn.Linear(4, 3), nn.Linear(4, 3)
    theirs.load_state_dict(ours.state_dict())
    optimizers = (MuonAdam(ours.parameters(), adam_lr=0.01), GridAdam(theirs.parameters(), lr=0.01, eps=1e-8))
    for net, optimizer in zip((ours, theirs), optimizers):
        torch.autograd.backward(net(torch.ones(2, 4)).square().sum())
        optimizer.step()
    assert torch.equal(ours.weight, theirs.weight)


@pytest.mark.parametrize("wrong", [{"momentum": 1.0}, {"lr": -1.0}, {"weight_decay": -1.0}, {"smallest": 0}])
def test_refuses_impossible_numbers(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="Allowed: momentum in"):
        MuonAdam([nn.Parameter(torch.zeros(16, 16))], **wrong)  # type: ignore[arg-type]
