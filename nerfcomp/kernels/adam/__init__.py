"""Adam that leaves entries without a gradient alone: parameter and moments stay as they are where the gradient is 0.

Notation: ``exp_avg`` and ``exp_avg_sq`` are the running averages of gradient and squared gradient, ``step`` counts
steps from 1. Source: Kingma and Ba, "Adam" (2015), algorithm 1; skipping as tiny-cuda-nn does it for hash tables, most
of whose entries no sample of a step has touched.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from nerfcomp.kernels.adam.numba_kernel import adam_step_numba
from nerfcomp.kernels.backends import Backend, choose_backend


class AdamStep(NamedTuple):
    """Numbers of one step.

    Attributes:
        lr: Learning rate.
        beta1: Decay of ``exp_avg``.
        beta2: Decay of ``exp_avg_sq``.
        eps: Added to the root of the second moment.
        weight_decay: L2 penalty; like everything else it acts on touched entries only.
        step: Number of this step, 1 for the first.
    """

    lr: float
    beta1: float
    beta2: float
    eps: float
    weight_decay: float
    step: int

    @property
    def step_size(self) -> float:
        """Learning rate that makes up for ``exp_avg`` having started at 0."""
        return self.lr / (1.0 - self.beta1**self.step)

    @property
    def root_factor(self) -> float:
        """Factor of the root of ``exp_avg_sq`` that makes up for its having started at 0."""
        return 1.0 / math.sqrt(1.0 - self.beta2**self.step)


def adam_step_torch(param: Tensor, grad: Tensor, exp_avg: Tensor, exp_avg_sq: Tensor, numbers: AdamStep) -> None:
    """Take one step in place: the reference, for any device and floating type.

    Args:
        param: Any shape.
        grad: Its gradient. An entry that is exactly 0 marks what is left alone.
        exp_avg: First moment, changed.
        exp_avg_sq: Second moment, changed.
        numbers: Rates of this step.

    >>> param, exp_avg, exp_avg_sq = torch.ones(2), torch.zeros(2), torch.zeros(2)
    >>> adam_step_torch(param, torch.tensor([4.0, 0.0]), exp_avg, exp_avg_sq, AdamStep(0.5, 0.5, 0.75, 0.0, 0.0, 1))
    >>> param.tolist(), exp_avg.tolist(), exp_avg_sq.tolist()
    ([0.5, 1.0], [2.0, 0.0], [4.0, 0.0])
    """
    touched = grad != 0
    grad = grad + numbers.weight_decay * param
    mean = torch.lerp(exp_avg, grad, 1.0 - numbers.beta1)
    square = numbers.beta2 * exp_avg_sq + (1.0 - numbers.beta2) * grad * grad
    update = numbers.step_size * mean / (square.sqrt() * numbers.root_factor + numbers.eps)
    exp_avg.copy_(torch.where(touched, mean, exp_avg))
    exp_avg_sq.copy_(torch.where(touched, square, exp_avg_sq))
    param.copy_(torch.where(touched, param - update, param))


def adam_step(
    param: Tensor,
    grad: Tensor,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    numbers: AdamStep,
    backend: Backend = "auto",
) -> None:
    """Take one step in place.

    Args:
        param: Any shape.
        grad: Its gradient. An entry that is exactly 0 marks what is left alone.
        exp_avg: First moment, changed.
        exp_avg_sq: Second moment, changed.
        numbers: Rates of this step.
        backend: "torch"; "numba" (float32 on the CPU), "triton" (float32 on a GPU), both for contiguous tensors only;
            or "auto", see `choose_backend`.

    Raises:
        ValueError: A backend that cannot take these tensors.

    >>> param, exp_avg, exp_avg_sq = torch.ones(2), torch.zeros(2), torch.zeros(2)
    >>> adam_step(param, torch.tensor([4.0, 0.0]), exp_avg, exp_avg_sq, AdamStep(0.5, 0.5, 0.75, 0.0, 0.0, 1))
    >>> param.tolist(), exp_avg.tolist(), exp_avg_sq.tolist()
    ([0.5, 1.0], [2.0, 0.0], [4.0, 0.0])
    """
    tensors = (param, grad, exp_avg, exp_avg_sq)
    packed = all(tensor.is_contiguous() for tensor in tensors)
    chosen = choose_backend("Adam", backend, tensors, twins=("numba", "triton") if packed else ())
    if chosen == "torch":
        adam_step_torch(*tensors, numbers)
        return
    rates = (numbers.step_size, numbers.beta1, numbers.beta2, numbers.root_factor, numbers.eps, numbers.weight_decay)
    if chosen == "triton":
        from nerfcomp.kernels.adam.triton_kernel import adam_step_triton

        adam_step_triton(*tensors, rates)
    else:
        adam_step_numba(*tensors, rates)
