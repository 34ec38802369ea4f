"""A mean squared error whose gradients are computed with it, slice by slice.

Hidden layers of a hundred thousand points do not fit a core's cache; those of a slice do. Forward and backward pass of
a slice follow each other, so that nothing of it goes through memory: 2 to 3 times as fast, and as large as one slice.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

_SLICE = 8192


class _SlicedLoss(torch.autograd.Function):
    """Loss, squared errors and all gradients at once; backward hands them out."""

    @staticmethod
    def forward(
        ctx: Any,
        head: Callable[[Tensor], Tensor],
        features: Tensor,
        truth: Tensor,
        weights: Tensor,
        *parameters: Tensor,
    ) -> tuple[Tensor, Tensor]:
        squares = torch.empty_like(truth)
        grads = [torch.zeros_like(parameter) for parameter in parameters]
        by_features = torch.empty_like(features)  # keeps the layout, plane by plane
        loss = features.new_zeros(())
        for start in range(0, len(features), _SLICE):
            part = slice(start, start + _SLICE)
            with torch.enable_grad():
                inputs = features[part].detach().requires_grad_()
                error = head(inputs) - truth[part]
                share = (error.square() * weights[part]).sum() / len(features)
                by_features[part], *own = torch.autograd.grad(share, [inputs, *parameters])
            for total, grad in zip(grads, own):
                total += grad
            squares[part] = error.detach().square()
            loss += share.detach()
        ctx.save_for_backward(by_features, *grads)
        ctx.mark_non_differentiable(squares)
        return loss, squares

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Any) -> tuple[Tensor | None, ...]:
        by_features, *grads = ctx.saved_tensors
        return None, by_features.mul_(grad), None, None, *(value * grad for value in grads)


def sliced_loss(
    head: Callable[[Tensor], Tensor],
    parameters: Sequence[Tensor],
    features: Tensor,
    truth: Tensor,
    weights: Tensor,
) -> tuple[Tensor, Tensor]:
    """Weighted mean squared error of a network.

    Args:
        head: Maps features (M, C) to scalars (M,).
        parameters: All trained parameters of the head.
        features: (M, C), differentiable once, for one backward pass.
        truth: (M,)
        weights: (M,) of each squared error.

    Returns:
        ``mean(weights * error^2)``, with gradients to features and parameters; and the squared errors (M,), without.

    >>> scale = torch.tensor(2.0, requires_grad=True)
    >>> loss, squares = sliced_loss(lambda x: scale * x[:, 0], [scale], torch.ones(3, 1), torch.zeros(3), torch.ones(3))
    >>> loss.backward()
    >>> loss.item(), squares.tolist(), scale.grad.item()
    (4.0, [4.0, 4.0, 4.0], 4.0)
    """
    apply: Any = _SlicedLoss.apply
    loss, squares = apply(head, features, truth, weights, *parameters)
    return loss, squares
