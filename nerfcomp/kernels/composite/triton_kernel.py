"""Packed compositing and distortion on GPUs. Notation as in `nerfcomp.kernels.composite`.

A program takes some rays, a row of samples of each at a time: what arrives at a sample is a running product along the
row, times what arrived at the row. Sums along a ray are in the number type of the inputs, those of the distortion in
double precision, as differences of large sums are taken.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nerfcomp.kernels.triton_setup import block_size, ceil_div, jit, launch, tl

_RAYS = 4
_SAMPLES = 32  # of a ray at a time


@jit
def _span(offsets: tl.tensor, number: tl.tensor, RAYS: tl.constexpr) -> tl.tensor:
    """Rays of this program, which of them exist, where their samples begin and how many there are."""
    rays = tl.program_id(0).to(tl.int64) * RAYS + tl.arange(0, RAYS)
    live = rays < number
    begin = tl.load(offsets + rays, mask=live, other=0)
    return rays, live, begin, tl.load(offsets + rays + 1, mask=live, other=0) - begin


@jit
def _composite(
    alpha: tl.tensor,
    rgb: tl.tensor,
    t: tl.tensor,
    offsets: tl.tensor,
    start: tl.tensor,
    number: tl.tensor,
    early_stop: tl.tensor,
    image: tl.tensor,
    depth: tl.tensor,
    opacity: tl.tensor,
    weights: tl.tensor,
    transmittance: tl.tensor,
    RAYS: tl.constexpr,
    SAMPLES: tl.constexpr,
) -> None:
    """Composite some rays; ``transmittance`` is what arrives at each sample, 0 behind the early stop."""
    rays, live, begin, count = _span(offsets, number, RAYS)
    column = tl.arange(0, SAMPLES)
    through = tl.load(start + rays, mask=live, other=0.0)
    red, green, blue = through * 0.0, through * 0.0, through * 0.0
    distance, total = through * 0.0, through * 0.0
    for first in range(0, tl.max(count, 0), SAMPLES):
        place = first + column
        inside = place[None, :] < count[:, None]
        sample = begin[:, None] + place[None, :]
        before = tl.load(alpha + sample - 1, mask=inside & (place > 0)[None, :], other=0.0)
        arriving = through[:, None] * tl.cumprod(1.0 - before, 1)
        lit = inside & (arriving > early_stop)
        own = tl.load(alpha + sample, mask=lit, other=0.0)
        weight = tl.where(lit, arriving * own, 0.0)
        tl.store(weights + sample, weight, mask=inside)
        tl.store(transmittance + sample, tl.where(lit, arriving, 0.0), mask=inside)
        red += tl.sum(weight * tl.load(rgb + sample * 3, mask=lit, other=0.0), 1)
        green += tl.sum(weight * tl.load(rgb + sample * 3 + 1, mask=lit, other=0.0), 1)
        blue += tl.sum(weight * tl.load(rgb + sample * 3 + 2, mask=lit, other=0.0), 1)
        distance += tl.sum(weight * tl.load(t + sample, mask=lit, other=0.0), 1)
        total += tl.sum(weight, 1)
        through = tl.sum(tl.where((column == SAMPLES - 1)[None, :], arriving, 0.0), 1)
    tl.store(image + rays * 3, red, mask=live)
    tl.store(image + rays * 3 + 1, green, mask=live)
    tl.store(image + rays * 3 + 2, blue, mask=live)
    tl.store(depth + rays, distance, mask=live)
    tl.store(opacity + rays, total, mask=live)


@jit
def _per_weight(
    grads: tl.tensor, rgb: tl.tensor, t: tl.tensor, grad_weights: tl.tensor, sample: tl.tensor, mask: tl.tensor
) -> tl.tensor:
    """Loss per unit of the weights of some samples, from the gradients of red, green, blue, depth and opacity."""
    red, green, blue, far, solid = grads
    value = red[:, None] * tl.load(rgb + sample * 3, mask=mask, other=0.0)
    value += green[:, None] * tl.load(rgb + sample * 3 + 1, mask=mask, other=0.0)
    value += blue[:, None] * tl.load(rgb + sample * 3 + 2, mask=mask, other=0.0)
    value += far[:, None] * tl.load(t + sample, mask=mask, other=0.0) + solid[:, None]
    return value + tl.load(grad_weights + sample, mask=mask, other=0.0)


@jit
def _composite_backward(
    alpha: tl.tensor,
    rgb: tl.tensor,
    t: tl.tensor,
    offsets: tl.tensor,
    weights: tl.tensor,
    transmittance: tl.tensor,
    grad_image: tl.tensor,
    grad_depth: tl.tensor,
    grad_opacity: tl.tensor,
    grad_weights: tl.tensor,
    number: tl.tensor,
    grad_alpha: tl.tensor,
    grad_rgb: tl.tensor,
    RAYS: tl.constexpr,
    SAMPLES: tl.constexpr,
) -> None:
    """Walk some rays from their ends.

    ``here`` is the loss per unit of a sample's weight, ``behind`` that of all weights behind a row. Columns of ``sums``
    begin at the sample behind their own, so that nothing is subtracted.
    """
    rays, live, begin, count = _span(offsets, number, RAYS)
    column = tl.arange(0, SAMPLES)
    red = tl.load(grad_image + rays * 3, mask=live, other=0.0)
    green = tl.load(grad_image + rays * 3 + 1, mask=live, other=0.0)
    blue = tl.load(grad_image + rays * 3 + 2, mask=live, other=0.0)
    far = tl.load(grad_depth + rays, mask=live, other=0.0)
    solid = tl.load(grad_opacity + rays, mask=live, other=0.0)
    behind = red * 0.0
    longest = tl.max(count, 0)
    rows = (longest + SAMPLES - 1) // SAMPLES
    for row in range(0, rows):
        place = (rows - 1 - row) * SAMPLES + column
        inside = place[None, :] < count[:, None]
        sample = begin[:, None] + place[None, :]
        more = place[None, :] + 1 < count[:, None]
        weight = tl.load(weights + sample + 1, mask=more, other=0.0)
        value = _per_weight((red, green, blue, far, solid), rgb, t, grad_weights, sample + 1, more)
        sums = behind[:, None] + tl.cumsum(tl.where(more, weight * value, 0.0), 1, reverse=True)
        behind = tl.sum(tl.where((column == 0)[None, :], sums, 0.0), 1)
        weight = tl.load(weights + sample, mask=inside, other=0.0)
        through = tl.load(transmittance + sample, mask=inside, other=0.0)
        own = tl.load(alpha + sample, mask=inside, other=0.0)
        here = _per_weight((red, green, blue, far, solid), rgb, t, grad_weights, sample, inside)
        left = 1.0 - own
        hidden = tl.where(left > 0.0, sums / tl.where(left > 0.0, left, 1.0), 0.0)
        slope = tl.where(through > 0.0, through * here - hidden, 0.0)
        tl.store(grad_alpha + sample, slope, mask=inside)
        tl.store(grad_rgb + sample * 3, weight * red[:, None], mask=inside)
        tl.store(grad_rgb + sample * 3 + 1, weight * green[:, None], mask=inside)
        tl.store(grad_rgb + sample * 3 + 2, weight * blue[:, None], mask=inside)


@jit
def _distortion(
    weights: tl.tensor,
    t: tl.tensor,
    dt: tl.tensor,
    offsets: tl.tensor,
    number: tl.tensor,
    loss: tl.tensor,
    totals: tl.tensor,
    RAYS: tl.constexpr,
    SAMPLES: tl.constexpr,
) -> None:
    """Distortion of some rays by running sums of ``w`` and ``w t``, whose ends go to ``totals`` (N, 2)."""
    rays, live, begin, count = _span(offsets, number, RAYS)
    column = tl.arange(0, SAMPLES)
    total, moment, result = tl.zeros([RAYS], tl.float64), tl.zeros([RAYS], tl.float64), tl.zeros([RAYS], tl.float64)
    for first in range(0, tl.max(count, 0), SAMPLES):
        place = first + column
        inside = place[None, :] < count[:, None]
        sample = begin[:, None] + place[None, :]
        w = tl.load(weights + sample, mask=inside, other=0.0).to(tl.float64)
        at = tl.load(t + sample, mask=inside, other=0.0).to(tl.float64)
        width = tl.load(dt + sample, mask=inside, other=0.0).to(tl.float64)
        before = total[:, None] + tl.cumsum(w, 1) - w
        before_moment = moment[:, None] + tl.cumsum(w * at, 1) - w * at
        result += tl.sum(2.0 * w * (at * before - before_moment) + w * w * width / 3.0, 1)
        total += tl.sum(w, 1)
        moment += tl.sum(w * at, 1)
    tl.store(loss + rays, result, mask=live)
    tl.store(totals + rays * 2, total, mask=live)
    tl.store(totals + rays * 2 + 1, moment, mask=live)


@jit
def _distortion_backward(
    weights: tl.tensor,
    t: tl.tensor,
    dt: tl.tensor,
    offsets: tl.tensor,
    number: tl.tensor,
    totals: tl.tensor,
    grad_loss: tl.tensor,
    grad_weights: tl.tensor,
    RAYS: tl.constexpr,
    SAMPLES: tl.constexpr,
) -> None:
    """Gradient of some rays: sums before a sample minus sums behind it."""
    rays, live, begin, count = _span(offsets, number, RAYS)
    column = tl.arange(0, SAMPLES)
    all_total = tl.load(totals + rays * 2, mask=live, other=0.0)
    all_moment = tl.load(totals + rays * 2 + 1, mask=live, other=0.0)
    factor = tl.load(grad_loss + rays, mask=live, other=0.0).to(tl.float64)
    total, moment = tl.zeros([RAYS], tl.float64), tl.zeros([RAYS], tl.float64)
    for first in range(0, tl.max(count, 0), SAMPLES):
        place = first + column
        inside = place[None, :] < count[:, None]
        sample = begin[:, None] + place[None, :]
        w = tl.load(weights + sample, mask=inside, other=0.0).to(tl.float64)
        at = tl.load(t + sample, mask=inside, other=0.0).to(tl.float64)
        width = tl.load(dt + sample, mask=inside, other=0.0).to(tl.float64)
        before = total[:, None] + tl.cumsum(w, 1) - w
        before_moment = moment[:, None] + tl.cumsum(w * at, 1) - w * at
        balance, tilt = 2.0 * before + w - all_total[:, None], 2.0 * before_moment + w * at - all_moment[:, None]
        gradient = factor[:, None] * (2.0 * (at * balance - tilt) + 2.0 / 3.0 * w * width)
        tl.store(grad_weights + sample, gradient, mask=inside)
        total += tl.sum(w, 1)
        moment += tl.sum(w * at, 1)


def _constants(rays: int) -> tuple[tuple[int, ...], dict[str, int]]:
    """Grid of programs, and what is compiled in."""
    block = block_size(rays, _RAYS, _SAMPLES)
    return (ceil_div(rays, block),), {"RAYS": block, "SAMPLES": _SAMPLES, "num_warps": _RAYS}


class _TritonComposite(torch.autograd.Function):
    """`composite_torch` with hand-written gradients for ``alpha`` and ``rgb``."""

    @staticmethod
    def forward(
        ctx: Any, alpha: Tensor, rgb: Tensor, t: Tensor, offsets: Tensor, start: Tensor, early_stop: float
    ) -> tuple[Tensor, ...]:
        rays = len(offsets) - 1
        alpha, rgb, t, offsets, start = (part.contiguous() for part in (alpha, rgb, t, offsets, start))
        image, depth, opacity = alpha.new_empty(rays, 3), alpha.new_empty(rays), alpha.new_empty(rays)
        weights, transmittance = torch.zeros_like(alpha), torch.zeros_like(alpha)
        grid, constants = _constants(rays)
        outputs = (image, depth, opacity, weights, transmittance)
        inputs = (alpha, rgb, t, offsets, start, rays, early_stop)
        launch(_composite, grid, alpha.device, *inputs, *outputs, **constants)
        ctx.save_for_backward(alpha, rgb, t, offsets, weights, transmittance)
        return image, depth, opacity, weights

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        alpha, rgb, _, offsets = ctx.saved_tensors[:4]
        grad_alpha, grad_rgb = torch.zeros_like(alpha), torch.zeros_like(rgb)
        rays = len(offsets) - 1
        grid, constants = _constants(rays)
        incoming = [gradient.contiguous() for gradient in gradients]
        inputs = (*ctx.saved_tensors, *incoming, rays)
        launch(_composite_backward, grid, alpha.device, *inputs, grad_alpha, grad_rgb, **constants)
        return grad_alpha, grad_rgb, None, None, None, None


class _TritonDistortion(torch.autograd.Function):
    """`distortion_torch` with a hand-written gradient for ``weights``."""

    @staticmethod
    def forward(ctx: Any, weights: Tensor, t: Tensor, dt: Tensor, offsets: Tensor) -> Tensor:
        rays = len(offsets) - 1
        inputs = [part.contiguous() for part in (weights, t, dt, offsets)]
        loss, totals = weights.new_empty(rays), weights.new_empty(rays, 2, dtype=torch.float64)
        grid, constants = _constants(rays)
        launch(_distortion, grid, weights.device, *inputs, rays, loss, totals, **constants)
        ctx.save_for_backward(*inputs, totals)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        *inputs, totals = ctx.saved_tensors
        grad_weights, rays = torch.zeros_like(inputs[0]), len(totals)
        grid, constants = _constants(rays)
        arguments = (*inputs, rays, totals, gradients[0].contiguous(), grad_weights)
        launch(_distortion_backward, grid, grad_weights.device, *arguments, **constants)
        return grad_weights, None, None, None


def composite_triton(
    alpha: Tensor, rgb: Tensor, t: Tensor, offsets: Tensor, start: Tensor, early_stop: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Do what `composite_torch` does, on a GPU; packed samples behind the last ray have weight 0."""
    image, depth, opacity, weights = _TritonComposite.apply(alpha, rgb, t, offsets, start, early_stop)  # type: ignore
    return image, depth, opacity, weights


def distortion_triton(weights: Tensor, t: Tensor, dt: Tensor, offsets: Tensor) -> Tensor:
    """Do what `distortion_torch` does, on a GPU."""
    loss: Tensor = _TritonDistortion.apply(weights, t, dt, offsets)  # type: ignore[no-untyped-call]
    return loss
