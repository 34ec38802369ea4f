"""Packed compositing and distortion in plain torch, on any device. Notation as in `nerfcomp.kernels.composite`."""

import torch
from torch import Tensor


def segment_sum(values: Tensor, offsets: Tensor) -> Tensor:
    """Sum packed values ray by ray.

    Args:
        values: (M,) or (M, F).
        offsets: (N + 1,) int64.

    Returns:
        (N,) or (N, F).

    >>> segment_sum(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0, 2, 2, 3])).tolist()
    [3.0, 0.0, 3.0]
    """
    return torch.segment_reduce(values, "sum", offsets=offsets, axis=0, initial=0.0)


def ray_of_sample(offsets: Tensor) -> Tensor:
    """Ray (M,) of each packed sample."""
    rays = torch.arange(len(offsets) - 1, device=offsets.device)
    return torch.repeat_interleave(rays, offsets.diff())


def transmittance_torch(alpha: Tensor, offsets: Tensor, start: Tensor) -> Tensor:
    """Light that arrives at each sample, ``start * prod_{j < i} (1 - alpha_j)``, by a padded row per ray.

    Args:
        alpha: (M,).
        offsets: (N + 1,) int64.
        start: (N,) transmittance before the first sample.

    Returns:
        (M,).
    """
    counts = offsets.diff()
    longest = int(counts.max()) if len(counts) else 0
    ray = ray_of_sample(offsets)
    column = torch.arange(len(alpha), device=alpha.device) - offsets[ray]
    factors = alpha.new_ones(len(counts), longest + 1)
    factors[:, 0] = start
    factors = factors.index_put((ray, column + 1), 1 - alpha)
    return factors.cumprod(1)[ray, column]


def composite_torch(
    alpha: Tensor, rgb: Tensor, t: Tensor, offsets: Tensor, start: Tensor, early_stop: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Composite by differentiable torch operations.

    Arguments and results as in `nerfcomp.kernels.composite.composite`, ``start`` being its ``transmittance``.
    """
    through = transmittance_torch(alpha, offsets, start)
    weights = torch.where(through > early_stop, through * alpha, 0.0)
    image = segment_sum(weights.unsqueeze(1) * rgb, offsets)
    return image, segment_sum(weights * t, offsets), segment_sum(weights, offsets), weights


def distortion_torch(weights: Tensor, t: Tensor, dt: Tensor, offsets: Tensor) -> Tensor:
    """Distortion per ray (N,) by packed prefix sums in double precision."""
    w, ray = weights.double(), ray_of_sample(offsets)
    sums = torch.stack([w, w * t], 1)
    before = sums.cumsum(0) - sums
    before = torch.cat([before, before.new_zeros(1, 2)])
    total, moment = (before[:-1] - before[offsets[ray]]).unbind(1)
    return segment_sum(2 * w * (t * total - moment) + w * w * dt / 3, offsets).to(weights.dtype)
