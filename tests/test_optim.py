"""GridAdam as an optimizer: what torch and Lightning expect of one, and of MuonAdam."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from nerfcomp.optim import GridAdam, MuonAdam


def small_net() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))


def train(net: nn.Module, optimizer: torch.optim.Optimizer, steps: int, seed: int) -> float:
    generator = torch.Generator().manual_seed(seed)
    loss = torch.zeros(())
    for _ in range(steps):
        x = torch.randn(16, 3, generator=generator)
        loss = (net(x) - x.sum(1, keepdim=True)).square().mean()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    return loss.item()


def test_equals_adam_on_dense_gradients() -> None:
    ours, theirs = small_net(), small_net()
    train(ours, GridAdam(ours.parameters(), lr=0.01, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.1), 20, seed=1)
    train(theirs, torch.optim.Adam(theirs.parameters(), lr=0.01, weight_decay=0.1), 20, seed=1)
    for one, two in zip(ours.parameters(), theirs.parameters()):
        torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-4)


@pytest.mark.slow
def test_learns() -> None:
    net = small_net()
    assert train(net, GridAdam(net.parameters(), lr=0.02), 300, seed=0) < 0.05


def test_table_rows_without_gradient_rest() -> None:
    table = nn.Embedding(50, 2)
    optimizer = GridAdam(table.parameters(), lr=0.1)
    for rows in ([1, 2], [2, 3], [3]):
        optimizer.zero_grad()
        torch.autograd.backward(table(torch.tensor(rows)).square().sum())
        before = table.weight.detach().clone()
        optimizer.step()
        changed = (table.weight != before).any(dim=1).nonzero().flatten().tolist()
        assert changed == rows


@pytest.mark.parametrize("make", [GridAdam, partial(MuonAdam, smallest=2)], ids=["GridAdam", "MuonAdam"])
def test_resumes_exactly(make: Callable[..., torch.optim.Optimizer], tmp_path: Path) -> None:
    net = small_net()
    optimizer = make(net.parameters())
    train(net, optimizer, 5, seed=1)
    torch.save({"net": net.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "state.pt")
    train(net, optimizer, 5, seed=2)

    loaded = torch.load(tmp_path / "state.pt", weights_only=True)
    resumed = small_net()
    resumed.load_state_dict(loaded["net"])
    resumed_optimizer = make(resumed.parameters(), lr=123.0)
    resumed_optimizer.load_state_dict(loaded["optimizer"])
    train(resumed, resumed_optimizer, 5, seed=2)
    assert all(torch.equal(one, two) for one, two in zip(net.parameters(), resumed.parameters()))


def test_follows_a_scheduler() -> None:
    param = nn.Parameter(torch.zeros(4))
    optimizer = GridAdam([param], lr=1.0, eps=0.0)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step)
    travelled = []
    for _ in range(3):
        before = param.detach().clone()
        param.grad = torch.ones(4)
        optimizer.step()
        scheduler.step()
        travelled.append((before - param.detach())[0].item())
    assert travelled == pytest.approx([1.0, 0.5, 0.25], rel=1e-5)  # equal gradients move by the learning rate


def test_closure_and_groups_without_gradient() -> None:
    used, unused = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    groups: list[dict[str, Any]] = [{"params": [used], "lr": 0.5}, {"params": [unused]}]
    optimizer = GridAdam(groups)

    def closure() -> float:
        loss = used.sum()
        torch.autograd.backward(loss)
        return loss.item()

    assert optimizer.step(closure) == 2.0
    assert used.tolist() == pytest.approx([0.5, 0.5])
    assert unused.tolist() == [1.0, 1.0]
    assert unused not in optimizer.state


@pytest.mark.parametrize("wrong", [{"lr": -1.0}, {"betas": (1.0, 0.9)}, {"eps": -1.0}, {"weight_decay": -0.1}])
def test_refuses_impossible_numbers(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="Allowed: betas in"):
        GridAdam([nn.Parameter(torch.zeros(1))], **wrong)  # type: ignore[arg-type]
