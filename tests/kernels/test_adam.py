"""Adam with skipping: both versions against torch's Adam and against each other."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from nerfcomp.kernels.adam import AdamStep, adam_step, adam_step_torch
from tests.kernels.twins import TRITON, place

NUMBERS = AdamStep(lr=0.03, beta1=0.9, beta2=0.99, eps=1e-10, weight_decay=0.01, step=3)


State = tuple[Tensor, Tensor, Tensor, Tensor]
Step = Callable[[Tensor, Tensor, Tensor, Tensor, AdamStep], None]


def triton_step(param: Tensor, grad: Tensor, exp_avg: Tensor, exp_avg_sq: Tensor, numbers: AdamStep) -> None:
    """`adam_step` where Triton runs, with the results copied back."""
    state = (param, grad, exp_avg, exp_avg_sq)
    there = map_state(state, lambda tensor: tensor.to(place("triton")))
    adam_step(*there, numbers, "triton")
    for here, moved in zip(state, there):
        here.copy_(moved)


STEPS = [
    pytest.param(adam_step, id="numba"),
    pytest.param(adam_step_torch, id="torch"),
    pytest.param(triton_step, id="triton", marks=TRITON.marks),
]


def random_state(shape: tuple[int, ...], touched: float = 1.0) -> State:
    """Parameter, gradient, first and second moment."""
    gradient = torch.randn(shape) * (torch.rand(shape) < touched)
    return torch.randn(shape), gradient, torch.randn(shape), torch.rand(shape)


def map_state(state: State, change: Callable[[Tensor], Tensor]) -> State:
    param, grad, exp_avg, exp_avg_sq = state
    return change(param), change(grad), change(exp_avg), change(exp_avg_sq)


@pytest.mark.parametrize("shape", [(1,), (15,), (16,), (17,), (33, 2), (70_001, 1), (8192, 16)])
@pytest.mark.parametrize("touched", [0.0, 0.1, 1.0])
def test_numba_equals_torch(shape: tuple[int, ...], touched: float) -> None:
    compare(adam_step, random_state(shape, touched))


@pytest.mark.parametrize(("shape", "touched"), [((0,), 1.0), ((17,), 0.0), ((33, 2), 1.0), ((70_001, 1), 0.1)])
@pytest.mark.parametrize("step", [STEPS[2]])
def test_triton_equals_torch(shape: tuple[int, ...], touched: float, step: Step) -> None:
    compare(step, random_state(shape, touched))


def compare(step: Step, ours: State) -> None:
    """Take a step and compare it with that of the reference."""
    reference = map_state(ours, torch.clone)
    step(*ours, NUMBERS)
    adam_step_torch(*reference, NUMBERS)
    for one, two in zip(ours, reference):
        torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("step", STEPS)
def test_untouched_entries_stay(step: Step) -> None:
    state = random_state((100,))
    state[1][::3] = 0.0
    before = map_state(state, torch.clone)
    step(*state, NUMBERS)
    for kind in (0, 2, 3):
        assert torch.equal(state[kind][::3], before[kind][::3])
        assert (state[kind][1::3] != before[kind][1::3]).all()


@pytest.mark.parametrize("step", STEPS)
def test_negative_zero_is_zero_and_nan_is_not(step: Step) -> None:
    param, exp_avg, exp_avg_sq = torch.ones(32), torch.ones(32), torch.ones(32)
    grad = torch.zeros(32)
    grad[:2] = torch.tensor([-0.0, float("nan")])
    step(param, grad, exp_avg, exp_avg_sq, NUMBERS)
    assert param.isnan().nonzero().tolist() == [[1]]
    assert param[0] == 1.0


def test_many_steps_follow_adam() -> None:
    param = torch.randn(500)
    twin = param.clone().requires_grad_()
    adam = torch.optim.Adam([twin], lr=0.01, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.1)
    exp_avg, exp_avg_sq = torch.zeros(500), torch.zeros(500)
    for step in range(1, 30):
        twin.grad = torch.randn(500)
        adam.step()
        adam_step(param, twin.grad, exp_avg, exp_avg_sq, AdamStep(0.01, 0.9, 0.99, 1e-8, 0.1, step))
    torch.testing.assert_close(param, twin.detach(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("change", [torch.Tensor.double, torch.t])
def test_other_types_and_strides_take_the_torch_path(change: Callable[[Tensor], Tensor]) -> None:
    ours = map_state(random_state((40, 3)), change)
    expected = map_state(ours, torch.clone)
    adam_step(*ours, NUMBERS)
    adam_step_torch(*expected, NUMBERS)
    assert all(torch.equal(one, two) for one, two in zip(ours, expected))


def test_changed_parameter_is_noticed_by_autograd() -> None:
    param = torch.randn(64, requires_grad=True)
    loss = (param**2).sum()
    with torch.no_grad():
        adam_step(param, torch.ones(64), torch.zeros(64), torch.zeros(64), NUMBERS)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        torch.autograd.backward(loss)
