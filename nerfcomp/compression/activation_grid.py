"""Activations on a grid of 256 values whose range follows what is seen.

Notation of this file: a *grid* is ``scale * (q - zero_point)`` for q from 0 to 255. Rounding passes gradients on as if
it were not there, and values beyond the ends get none.

Source: Esser et al., "Learned Step Size Quantization" (ICLR 2020).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

_LEVELS = 255
_SEEN = 2**17  # values of a part that a percentile is taken of, at least
_SLOWEST = 0.02  # least share of a new range in the moving one
_LEAST = 1e-8


class Rounded(torch.autograd.Function):
    """``scale * (clamp(round(x / scale) + zero, low, high) - zero)`` with gradients for ``x`` and ``log(scale)``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, log_scale: Tensor, zero: Tensor, low: float, high: float) -> Tensor:
        """Round ``x``, whose scale has a shape that multiplies it."""
        scale = log_scale.exp()
        levels = x.float() * (1 / scale)
        cut = torch.clamp(levels, low - zero, high - zero)
        inside = cut == levels
        whole = cut.round()
        ctx.save_for_backward(inside, scale, whole - levels * inside if ctx.needs_input_grad[1] else None)
        return (whole * scale).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Straight through what was not cut."""
        inside, scale, slope = ctx.saved_tensors
        grad_scale = None
        if slope is not None:  # d/d scale, then along log(scale)
            grad_scale = (gradients[0] * slope * scale).sum_to_size(scale.shape)
        return gradients[0] * inside, grad_scale, None, None, None


class ActivationGrid(nn.Module):
    """Brings activations to 256 values whose range follows what is seen, until it is frozen.

    Args:
        percentile: Share of the values, in per cent, that must lie below the upper end, and above the lower one.
        learned: Whether the step is trained, from that of the range on.

    Attributes:
        low: Lower end, at most 0.
        high: Upper end, at least 0.
        seen: How often the range has been adapted.
        log_gain: Logarithm of the factor between the trained step and that of the range.
        gain: The same, where it stands still once it is frozen, whatever momentum the optimizer has.
        observing: In training mode, adapt the range to what comes, and the step as it is trained; not frozen.
        calibrating: Adapt the range in evaluation mode, too.
    """

    gain: Tensor
    low: Tensor
    high: Tensor
    seen: Tensor

    def __init__(self, percentile: float, learned: bool) -> None:
        super().__init__()
        self.percentile = percentile
        for name in ("low", "high", "seen", "gain"):
            self.register_buffer(name, torch.zeros(()))
        self.log_gain = nn.Parameter(torch.zeros(()), requires_grad=learned)
        self.observing = True
        self.calibrating = False

    def forward(self, x: Tensor) -> Tensor:
        """Bring ``x`` (..., channels) to the grid; before anything was seen it stays as it is."""
        if self.calibrating or (self.training and self.observing):
            self.observe(x.detach())
        if not self.seen:
            return x
        log_scale = self.log_scale()
        out: Tensor = Rounded.apply(  # type: ignore[no-untyped-call]
            x, log_scale, self.zero_point(log_scale.detach()), 0.0, float(_LEVELS)
        )
        return out

    def log_scale(self) -> Tensor:
        """Logarithm of the step."""
        gain = self.gain
        if self.training and self.learned and torch.is_grad_enabled():
            if self.observing:
                self.gain.copy_(self.log_gain.detach())
            gain = self.log_gain if self.observing else self.gain + 0 * self.log_gain  # processes expect a gradient
        return ((self.high - self.low).clamp(min=_LEAST) / _LEVELS).log() + gain

    def zero_point(self, log_scale: Tensor) -> Tensor:
        """The level of zero."""
        return (-self.low / log_scale.exp()).round().clamp(0, _LEVELS)

    def grid(self) -> tuple[float, int]:
        """Scale and zero point.

        Raises:
            ValueError: Nothing was seen yet.
        """
        if not self.seen:
            raise ValueError("The ranges of activations are not known yet: calibrate or train first.")
        log_scale = self.log_scale().detach()
        return float(log_scale.exp()), int(self.zero_point(log_scale))

    @property
    def learned(self) -> bool:
        """Whether the step is trained."""
        return self.log_gain.requires_grad

    def forget(self) -> None:
        """Know no range, as at the beginning."""
        for end in (self.low, self.high, self.seen):
            end.zero_()

    @torch.no_grad()
    def observe(self, x: Tensor) -> None:
        """Move the range towards that of ``x``; it always holds zero.

        While calibrating with a percentile of 100 it holds everything. What is rare need not be noise: the farthest
        samples of a NeRF, one of a ray, have its largest values, and a density that cut ones raise hides what lies
        behind.
        """
        if x.numel() == 0:
            return
        if self.calibrating and self.percentile == 100:
            self.low.copy_(torch.minimum(self.low, x.amin()))
            self.high.copy_(torch.maximum(self.high, x.amax()))
            self.seen += 1
            return
        rows = x.reshape(-1, x.shape[-1])  # every channel of them: a large one may be alone
        values = rows[:: max(1, x.numel() // _SEEN)].flatten().float()
        beyond = 1 + round((len(values) - 1) * (1 - self.percentile / 100))
        high = values.topk(beyond).values[-1].clamp(min=0)
        low = values.topk(beyond, largest=False).values[-1].clamp(max=0)
        share = torch.clamp(1 / (self.seen + 1), min=_SLOWEST)
        self.low.lerp_(low, share)
        self.high.lerp_(high, share)
        self.seen += 1


def freeze_ranges(module: nn.Module, frozen: bool = True) -> None:
    """Let the ranges of all activations stand still in training, learned steps included; or let them move."""
    for part in module.modules():
        if isinstance(part, ActivationGrid):
            part.observing = not frozen


@contextmanager
def calibrating(module: nn.Module) -> Iterator[None]:
    """Meanwhile, all ranges of activations follow what the module is shown in evaluation mode."""
    grids = [part for part in module.modules() if isinstance(part, ActivationGrid)]
    try:
        for grid in grids:
            grid.calibrating = True
        yield
    finally:
        for grid in grids:
            grid.calibrating = False
