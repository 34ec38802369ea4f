"""Fused networks against the layers of torch, and what the kernel does not take."""

from typing import Any

import pytest
import torch
from torch import Tensor

from nerfcomp.kernels import mlp as kernels
from nerfcomp.kernels.backends import Backend
from nerfcomp.kernels.mlp.torch_kernel import mlp_torch
from tests.kernels.twins import TRITON, run_on

SHAPES = [
    pytest.param([32, 64, 16], id="density"),
    pytest.param([32, 64, 1], id="density-only"),
    pytest.param([32, 64, 64, 3], id="colour"),
    pytest.param([5, 16, 16, 20], id="odd"),
]


def network(widths: list[int]) -> list[Tensor]:
    return [torch.randn(b, a).div_(a**0.5).requires_grad_() for a, b in zip(widths[:-1], widths[1:])]


def gradients(x: Tensor, matrices: list[Tensor], backend: Backend) -> list[Tensor]:
    """Outputs, and gradients of a random sum of them with respect to inputs and weights."""
    x = x.detach().requires_grad_()
    out = run_on(backend, kernels.mlp, x, matrices)
    factors = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
    return [out.detach(), *torch.autograd.grad((out * factors).sum(), [x, *matrices])]


@pytest.mark.parametrize("widths", SHAPES)
@pytest.mark.parametrize("backend", [TRITON])
@pytest.mark.parametrize("points", [1, 300])
def test_twin_equals_torch(widths: list[int], points: int, backend: Backend) -> None:
    x, matrices = torch.randn(widths[0], points).t(), network(widths)  # plane by plane, as the hash grid stores them
    ours, theirs = gradients(x, matrices, backend), gradients(x, matrices, "torch")
    assert (ours[0] - theirs[0]).abs().max() <= 1e-5 * theirs[0].abs().max()
    for one, other in zip(ours[1:], theirs[1:], strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-4 * float(other.abs().max()))


@pytest.mark.parametrize("backend", [TRITON])
def test_more_inputs_than_a_program_takes(backend: Backend) -> None:
    x, matrices = torch.randn(2**14 + 5, 32), network([32, 64, 1])
    ours, theirs = gradients(x, matrices, backend), gradients(x, matrices, "torch")
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-4 * float(other.abs().max()))


@pytest.mark.parametrize("backend", [TRITON])
@pytest.mark.parametrize("strides", ["rows", "neither", "broadcast"])
def test_any_strides(backend: Backend, strides: str) -> None:
    x, matrices = torch.randn(40, 32), network([32, 64, 16])
    like = {"rows": x, "neither": torch.randn(40, 64)[:, ::2], "broadcast": x[:1].expand(40, 32)}[strides]
    ours, theirs = gradients(like, matrices, backend), gradients(like.contiguous(), matrices, "torch")
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("backend", [TRITON])
def test_no_inputs(backend: Backend) -> None:
    out, *grads = gradients(torch.zeros(0, 32), network([32, 64, 16]), backend)
    assert out.shape == (0, 16)
    assert [tuple(grad.shape) for grad in grads] == [(0, 32), (64, 32), (16, 64)]
    assert not any(grad.any() for grad in grads)


def test_other_shapes_take_the_reference_and_are_refused_by_name() -> None:
    x, matrices = torch.randn(4, 32), network([32, 256, 3])
    assert torch.equal(kernels.mlp(x, matrices), mlp_torch(x, matrices))
    with pytest.raises(ValueError, match="There is no triton kernel of the fused network|There is no numba"):
        kernels.mlp(x, matrices, "triton")


def test_reference_is_a_chain_of_linear_layers() -> None:
    layers: Any = [torch.nn.Linear(8, 16, bias=False), torch.nn.ReLU(), torch.nn.Linear(16, 3, bias=False)]
    x = torch.randn(10, 8)
    torch.testing.assert_close(kernels.mlp(x, [layers[0].weight, layers[2].weight]), torch.nn.Sequential(*layers)(x))
