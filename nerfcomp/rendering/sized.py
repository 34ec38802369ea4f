"""A training step's samples in buffers of fixed size, chosen without the host ever waiting for the accelerator.

What `nerfcomp.rendering.visibility.affordable_samples` does by asking for numbers, this does on the device: numbers of
samples and rays stay there, rows behind the last sample are filled up and belong to no ray. Notation as there.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from nerfcomp.kernels.march import Samples
from nerfcomp.rendering.visibility import OPAQUE, AlphaFunction


class Sized(NamedTuple):
    """Samples of the leading rays that a step uses.

    Attributes:
        samples: A fixed number of samples; those behind ``offsets[-1]`` belong to no ray and have length 0.
        n_rays: Scalar int64, number of leading rays that are used; the others have no samples.
    """

    samples: Samples
    n_rays: Tensor

    @property
    def real(self) -> Tensor:
        """Which rows (M,) are samples of a ray."""
        return torch.arange(len(self.samples.t), device=self.n_rays.device) < self.samples.offsets[-1:]

    def shares(self, total: int) -> Tensor:
        """What each of ``total`` rays counts in a mean over those used, (total,)."""
        number = torch.arange(total, device=self.n_rays.device)
        return (number < self.n_rays) / self.n_rays.clamp(min=1).float()


def within(samples: Samples) -> Samples:
    """The same buffer, in which rays whose samples did not fit have none; what reads buffers may then trust offsets."""
    offsets = samples.offsets
    total = torch.where(offsets <= len(samples.t), offsets, 0).amax()
    return samples._replace(offsets=offsets.clamp(max=total))


def real_rows(samples: Samples) -> Tensor:
    """Which rows (M,) of a buffer are samples of a ray that fits."""
    offsets = samples.offsets
    total = torch.where(offsets <= len(samples.t), offsets, 0).amax()
    return torch.arange(len(samples.t), device=offsets.device) < total


def depth_in_front(own: Tensor, samples: Samples) -> Tensor:
    """Optical depth (M,) float64 in front of each sample of a buffer, of those of the samples, ``own`` (M,)."""
    before = own.double().cumsum(0) - own.double()
    return before - before[samples.offsets[:-1].clamp(max=len(own) - 1)][samples.ray_indices]


def lit_rows(marched: Samples, alpha: Tensor, least_transmittance: float) -> Tensor:
    """Which samples (M,) of a buffer light reaches: leading ones of each ray.

    Args:
        marched: Samples of N rays in a buffer, see `march` with a ``capacity``.
        alpha: (M,) their opacities; of rows that belong to no ray anything.
        least_transmittance: A sample behind less transmittance is not lit; in (0, 1).
    """
    own = torch.where(real_rows(marched), -torch.log1p(-alpha).clamp(min=-OPAQUE), 0.0)
    return depth_in_front(own, marched) <= -math.log(least_transmittance)


@torch.no_grad()
def kept_within(samples: Samples, keep: Tensor, most: int) -> Sized:
    """Keep some samples, of as many leading rays as together have at most ``most`` of them.

    Args:
        samples: Samples of N rays in a buffer, see `march` with a ``capacity``.
        keep: (M,) bool, which ones; of rows that belong to no ray anything.
        most: Number of samples of the result.

    >>> ray, offsets = torch.tensor([0, 0, 1, 0]), torch.tensor([0, 2, 3])
    >>> two = Samples(torch.zeros(4, 3), torch.arange(4.0), torch.ones(4), ray, offsets)
    >>> samples, n_rays = kept_within(two, torch.tensor([False, True, True, True]), most=3)
    >>> samples.t.tolist(), samples.dt.tolist(), samples.offsets.tolist(), n_rays.item()
    ([1.0, 2.0, 0.0], [1.0, 1.0, 0.0], [0, 1, 2], 2)
    """
    capacity = len(samples.t)
    fits = samples.offsets[1:] <= capacity
    keep = keep & real_rows(samples)
    running = torch.nn.functional.pad(keep.cumsum(0), (1, 0))
    ends, begins = (torch.where(fits, part, 0) for part in (samples.offsets[1:], samples.offsets[:-1]))
    counts = running[ends] - running[begins]
    used = fits & (counts.cumsum(0) <= most)
    offsets = torch.nn.functional.pad((counts * used).cumsum(0), (1, 0))
    place = torch.where(keep, running[:-1], most).clamp(max=most)
    rows = torch.arange(capacity, device=place.device)
    real = torch.arange(most, device=place.device) < offsets[-1:]
    source = torch.where(real, rows.new_zeros(most + 1).scatter_(0, place, rows)[:most], 0)
    x, t, dt, ray = (part.index_select(0, source) for part in samples[:4])
    return Sized(Samples(x, t, dt * real, torch.where(real, ray, 0), offsets), used.sum())


@torch.no_grad()
def sized_samples(
    marched: Samples, viewdirs: Tensor, alpha_fn: AlphaFunction, most: int, least_transmittance: float = 1e-4
) -> Sized:
    """Choose the samples that light reaches, of as many leading rays as together have at most ``most`` of them.

    Args:
        marched: Samples of N rays in a buffer, see `march` with a ``capacity``.
        viewdirs: (N, 3) directions of the rays.
        alpha_fn: Opacities (K,) of intervals at positions (K, 3), seen along (K, 3), of length (K,).
        most: Number of samples of the result.
        least_transmittance: Samples behind less transmittance are dropped; in (0, 1).

    Returns:
        The samples and the number of rays, those of `affordable_samples` unless more samples were marched than fit.

    >>> ray, offsets = torch.tensor([0, 0, 1, 0]), torch.tensor([0, 2, 3])
    >>> two = Samples(torch.zeros(4, 3), torch.arange(4.0), torch.ones(4), ray, offsets)
    >>> samples, n_rays = sized_samples(two, torch.zeros(2, 3), lambda x, d, dt: torch.zeros(len(x)), most=4)
    >>> samples.dt.tolist(), samples.offsets.tolist(), n_rays.item()
    ([1.0, 1.0, 1.0, 0.0], [0, 2, 3], 2)
    """
    alpha = alpha_fn(marched.x, viewdirs.index_select(0, marched.ray_indices), marched.dt)
    return kept_within(marched, lit_rows(marched, alpha, least_transmittance), most)
