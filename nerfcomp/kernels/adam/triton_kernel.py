"""Adam on GPUs that skips entries without a gradient. Notation as in `nerfcomp.kernels.adam`.

Memory bounds the speed: of a block whose gradients are all 0 nothing but the gradients is read.
"""

from torch import Tensor
from torch.autograd.graph import increment_version

from nerfcomp.kernels.triton_setup import block_size, ceil_div, jit, launch, tl

_BLOCK = 1024


@jit
def _step(
    param: tl.tensor,
    grad: tl.tensor,
    exp_avg: tl.tensor,
    exp_avg_sq: tl.tensor,
    number: tl.tensor,
    step_size: tl.tensor,
    rest1: tl.tensor,
    beta2: tl.tensor,
    rest2: tl.tensor,
    root_factor: tl.tensor,
    eps: tl.tensor,
    weight_decay: tl.tensor,
    BLOCK: tl.constexpr,
) -> None:
    """Take a block of entries one step on; ``rest1`` and ``rest2`` are 1 minus the betas."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    gradient = tl.load(grad + at, mask=at < number, other=0.0)
    touched = gradient != 0.0
    old = tl.load(param + at, mask=touched, other=0.0)
    mean = tl.load(exp_avg + at, mask=touched, other=0.0)
    square = tl.load(exp_avg_sq + at, mask=touched, other=0.0)
    gradient += weight_decay * old
    mean += (gradient - mean) * rest1
    square = square * beta2 + gradient * gradient * rest2
    new = old - step_size * mean / (tl.sqrt(square) * root_factor + eps)
    tl.store(exp_avg + at, mean, mask=touched)
    tl.store(exp_avg_sq + at, square, mask=touched)
    tl.store(param + at, new, mask=touched)


def adam_step_triton(
    param: Tensor,
    grad: Tensor,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    rates: tuple[float, float, float, float, float, float],
) -> None:
    """Take one step in place.

    Args:
        param: Contiguous float32 on a GPU, like the three others, of the same shape.
        grad: Gradient.
        exp_avg: First moment.
        exp_avg_sq: Second moment.
        rates: Step size, beta1, beta2, root factor, eps and weight decay, as in `nerfcomp.kernels.adam.AdamStep`.
    """
    step_size, beta1, beta2, root_factor, eps, weight_decay = rates
    numbers = (step_size, 1.0 - beta1, beta2, 1.0 - beta2, root_factor, eps, weight_decay)
    block = block_size(param.numel(), _BLOCK)
    tensors = (param.detach(), grad, exp_avg, exp_avg_sq)
    grid = (ceil_div(param.numel(), block),)
    launch(_step, grid, param.device, *tensors, param.numel(), *numbers, BLOCK=block, num_warps=4)
    increment_version((param, exp_avg, exp_avg_sq))  # torch does not see what Triton writes
