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

    def shares(self, total: int) -> Tensor:
        """What each of ``total`` rays counts in a mean over those used, (total,)."""
        number = torch.arange(total, device=self.n_rays.device)
        return (number < self.n_rays) / self.n_rays.clamp(min=1).float()


def lit_counts(marched: Samples, alpha: Tensor, least_transmittance: float) -> Tensor:
    """Leading samples (N,) of each ray that light reaches; 0 for rays whose samples did not fit.

    Args:
        marched: Samples of N rays in a buffer, see `march` with a ``capacity``.
        alpha: (M,) their opacities; of rows that belong to no ray anything.
        least_transmittance: A sample behind less transmittance is not lit; in (0, 1).
    """
    capacity, offsets = len(marched.t), marched.offsets
    fits = offsets[1:] <= capacity
    ends = torch.where(fits, offsets[1:], 0)
    real = torch.arange(capacity, device=alpha.device) < ends.amax()
    own = torch.where(real, -torch.log1p(-alpha).clamp(min=-OPAQUE), 0.0).double()
    before = own.cumsum(0) - own
    depth = before - before[offsets[:-1].clamp(max=capacity - 1)][marched.ray_indices]
    lit = real & (depth <= -math.log(least_transmittance))
    sums = torch.nn.functional.pad(lit.cumsum(0), (1, 0))
    begins = torch.where(fits, offsets[:-1], 0)
    return (sums[ends] - sums[begins]) * fits


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
    counts = lit_counts(marched, alpha, least_transmittance)
    used = (marched.offsets[1:] <= len(marched.t)) & (counts.cumsum(0) <= most)
    offsets = torch.nn.functional.pad((counts * used).cumsum(0), (1, 0))
    row = torch.arange(most, device=offsets.device)
    real = row < offsets[-1:]
    ray = (torch.searchsorted(offsets, row, right=True) - 1).clamp(max=len(counts) - 1)
    source = torch.where(real, marched.offsets[ray] + row - offsets[ray], 0)
    x, t, dt = (part.index_select(0, source) for part in marched[:3])
    return Sized(Samples(x, t, dt * real, torch.where(real, ray, 0), offsets), used.sum())
