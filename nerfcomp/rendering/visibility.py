"""Choosing among marched samples before the expensive part of a step: what light reaches, and whole rays of it.

Notation: samples are packed ray after ray; ``offsets`` (N + 1,) delimits rays. The optical depth in front of sample
``i`` is ``tau_i = sum_{j < i} density_j * dt_j`` over its own ray; its transmittance is ``exp(-tau_i)``.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from nerfcomp.kernels.march import Samples


def optical_depth(density: Tensor, samples: Samples) -> Tensor:
    """Optical depth between each sample and the start of its ray.

    Args:
        density: (M,) per unit length, >= 0.
        samples: M samples of N rays.

    Returns:
        (M,) float64, >= 0.

    >>> indices, offsets = torch.tensor([0, 0, 1]), torch.tensor([0, 2, 3])
    >>> two_rays = Samples(torch.zeros(3, 3), torch.ones(3), torch.ones(3), indices, offsets)
    >>> optical_depth(torch.tensor([2.0, 1.0, 4.0]), two_rays).tolist()
    [0.0, 2.0, 0.0]
    """
    own = (density * samples.dt).double()
    before = torch.cumsum(own, 0) - own
    starts = samples.offsets[:-1].clamp(max=max(len(own) - 1, 0))
    return before - before[starts][samples.ray_indices] if len(own) else own


def visible_samples(samples: Samples, density: Tensor, least_transmittance: float = 1e-4) -> Samples:
    """Keep the samples that light still reaches.

    Args:
        samples: M samples of N rays.
        density: (M,) per unit length at the samples, without gradients.
        least_transmittance: Samples behind less transmittance are dropped; in (0, 1).

    Returns:
        The kept samples of the same N rays, in the same order.

    >>> one_ray = Samples(torch.zeros(3, 3), torch.ones(3), torch.ones(3), torch.zeros(3).long(), torch.tensor([0, 3]))
    >>> visible_samples(one_ray, torch.tensor([0.0, 50.0, 1.0])).offsets.tolist()
    [0, 2]
    """
    keep = optical_depth(density, samples) <= -math.log(least_transmittance)
    kept_before = torch.nn.functional.pad(torch.cumsum(keep, 0), (1, 0))
    offsets = kept_before[samples.offsets]
    return Samples(samples.x[keep], samples.t[keep], samples.dt[keep], samples.ray_indices[keep], offsets)


@torch.no_grad()
def affordable_samples(
    marched: Samples, density_fn: Callable[[Tensor], Tensor], most: int, least_transmittance: float = 1e-4
) -> tuple[Samples, int]:
    """Choose the samples that light reaches, of as many leading rays as together have at most ``most`` of them.

    Densities are asked for group by group, so that hardly any is asked in vain, however little of a ray is visible.

    Args:
        marched: Samples of N rays.
        density_fn: Densities (M,) at positions (M, 3).
        most: Number of samples to stay within; the first ray is taken even if it alone has more.
        least_transmittance: Samples behind less transmittance are dropped; in (0, 1).

    Returns:
        The samples, and the number of rays they belong to.

    >>> three = Samples(torch.zeros(3, 3), torch.arange(3.0), torch.ones(3), torch.tensor([0, 1, 2]), torch.arange(4))
    >>> samples, rays = affordable_samples(three, lambda x: torch.zeros(len(x)), most=2)
    >>> samples.t.tolist(), rays
    ([0.0, 1.0], 2)
    """
    total = len(marched.offsets) - 1
    parts: list[Samples] = []
    rays, room = 0, most
    while rays < total and room > 0:
        end = max(rays_within(marched, int(marched.offsets[rays]) + most), rays + 1)
        part = some_rays(marched, rays, end)
        part = visible_samples(part, density_fn(part.x), least_transmittance)
        taken = max(rays_within(part, room), 0 if parts else 1)
        parts.append(some_rays(part, 0, taken))
        room = room - len(parts[-1].t) if taken == end - rays else 0
        rays += taken
    return (join_samples(parts) if parts else marched), rays


def rays_within(samples: Samples, most: int) -> int:
    """Number of leading rays whose samples together are at most ``most``.

    >>> rays_within(Samples(*[torch.zeros(0)] * 4, torch.tensor([0, 3, 5])), 4)
    1
    """
    return int(torch.searchsorted(samples.offsets, most, right=True)) - 1


def some_rays(samples: Samples, begin: int, end: int) -> Samples:
    """Samples of the rays ``begin`` to ``end - 1``, which are numbered from 0 again.

    >>> three = Samples(torch.zeros(3, 3), torch.arange(3.0), torch.ones(3), torch.tensor([0, 1, 2]), torch.arange(4))
    >>> some_rays(three, 1, 3).t.tolist(), some_rays(three, 1, 3).offsets.tolist()
    ([1.0, 2.0], [0, 1, 2])
    """
    first, last = int(samples.offsets[begin]), int(samples.offsets[end])
    return Samples(
        samples.x[first:last],
        samples.t[first:last],
        samples.dt[first:last],
        samples.ray_indices[first:last] - begin,
        samples.offsets[begin : end + 1] - first,
    )


def join_samples(parts: Sequence[Samples]) -> Samples:
    """Samples of several groups of rays as those of one; the inverse of `some_rays`.

    >>> three = Samples(torch.zeros(3, 3), torch.arange(3.0), torch.ones(3), torch.tensor([0, 1, 2]), torch.arange(4))
    >>> join_samples([some_rays(three, 0, 1), some_rays(three, 1, 3)]).offsets.tolist()
    [0, 1, 2, 3]
    """
    rays, count = 0, 0
    indices, offsets = [], [parts[0].offsets[:1]]
    for part in parts:
        indices.append(part.ray_indices + rays)
        offsets.append(part.offsets[1:] + count)
        rays, count = rays + len(part.offsets) - 1, count + len(part.t)
    x, t, dt = (torch.cat([part[column] for part in parts]) for column in range(3))
    return Samples(x, t, dt, torch.cat(indices), torch.cat(offsets))
