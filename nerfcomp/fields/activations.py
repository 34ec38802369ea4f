"""What turns outputs of networks into densities and colours, with gradients that neither explode nor vanish."""

from typing import Any

import torch
from torch import Tensor

_LEAST_SLOPE = 0.05
_SLOPE_BELOW = 0.125


class _TruncatedExp(torch.autograd.Function):
    """``exp`` whose gradient is taken at the argument clamped to [-15, 15]: no sample can blow up a step."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.exp()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        x: Tensor = ctx.saved_tensors[0]
        return grad * x.clamp(-15.0, 15.0).exp()


def truncated_exp(x: Tensor) -> Tensor:
    """Exponential in float32 with a bounded gradient (ngp_pl's density activation).

    Args:
        x: Any shape.

    Returns:
        ``exp(x)``, float32 at least.
    """
    full = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    out: Tensor = _TruncatedExp.apply(full)  # type: ignore[no-untyped-call]
    return out


class _ReturningSigmoid(torch.autograd.Function):
    """The logistic function with a slope of at least ``_LEAST_SLOPE`` for gradients that lead back to the middle."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = torch.sigmoid(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        y: Tensor = ctx.saved_tensors[0]
        slope = y * (1 - y)
        back = (grad < 0) == (y < 0.5)  # descent moves against the gradient
        return grad * torch.where(back, slope.clamp_min(_LEAST_SLOPE), slope)


def color_activation(logits: Tensor, training: bool) -> Tensor:
    """The logistic function, from which a colour that training has driven to black or white can come back.

    In the first steps of a large learning rate, the colours of a thin object all run far into saturation. There the
    true gradient is zero, so that opacity alone has to explain the pixels from then on: a black fog over white, or a
    white one over black. While training, the slope is therefore at least 0.05 towards the middle; values, and gradients
    of a field that is evaluated, are those of `torch.sigmoid`.

    Args:
        logits: Any shape.
        training: Whether gradients are for training.

    Returns:
        Values in [0, 1], of the same shape.

    >>> x = torch.tensor([-30.0, 0.0, 30.0], requires_grad=True)
    >>> color_activation(x, training=True).sum().backward()
    >>> [round(slope, 3) for slope in x.grad.tolist()]  # only the last one wants to come back
    [0.0, 0.25, 0.05]
    """
    if not training:
        return torch.sigmoid(logits)
    out: Tensor = _ReturningSigmoid.apply(logits)  # type: ignore[no-untyped-call]
    return out


def snake(x: Tensor) -> Tensor:
    """SnakeAlt, ``0.5 x + sin(x)^2``: rises and oscillates (Weiss et al., fV-SRN, 2022).

    Args:
        x: Any shape.

    >>> snake(torch.tensor([0.0, 2.0]))
    tensor([0.0000, 1.8268])
    """
    return 0.5 * x + torch.sin(x).square()


class _ReturningReLU(torch.autograd.Function):
    """``relu`` whose gradient passes below zero, too, where it leads back up."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return torch.relu(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        x: Tensor = ctx.saved_tensors[0]
        return torch.where(x > 0, grad, grad.clamp(max=0.0) * _SLOPE_BELOW)


def density_rectifier(raw: Tensor, training: bool) -> Tensor:
    """The rectifier of a density, from which a network that says nothing anywhere can come back.

    Below zero the true gradient is zero: a network that has been driven there, at all samples, by the first steps of a
    large learning rate or by losses that ask for emptiness, stays blank for ever. While training, a part of the
    gradient therefore passes below zero, too, where it asks for more density; values, and gradients of a field that is
    evaluated, are those of `torch.relu`.

    Args:
        raw: Any shape.
        training: Whether gradients are for training.

    Returns:
        Values from 0, of the same shape.

    >>> x = torch.tensor([-3.0, -3.0, 2.0], requires_grad=True)
    >>> (density_rectifier(x, training=True) * torch.tensor([-1.0, 1.0, 1.0])).sum().backward()
    >>> x.grad.tolist()  # the first one wants density
    [-0.125, 0.0, 1.0]
    """
    if not training:
        return torch.relu(raw)
    out: Tensor = _ReturningReLU.apply(raw)  # type: ignore[no-untyped-call]
    return out
