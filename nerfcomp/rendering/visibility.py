"""Choosing among marched samples before the expensive part of a step: what light reaches, and whole rays of it.

Notation: samples are packed ray after ray; ``offsets`` (N + 1,) delimits rays. The optical depth in front of sample
``i`` is ``tau_i = sum_{j < i} -log(1 - alpha_j)`` over its own ray; its transmittance is ``exp(-tau_i)``.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from nerfcomp.kernels.march import Samples

AlphaFunction = Callable[[Tensor, Tensor, Tensor], Tensor]
ChoiceFunction = Callable[[Samples, Tensor], Samples]  # of rays with directions (K, 3)
OPAQUE = 100.0  # optical depth of which no light is left; larger ones would swallow the digits of others in a sum
_FIRST_WAVE = 8  # samples; most rays meet a surface among their first occupied cells


class Rows(NamedTuple):
    """Leading samples of some rays, as rows of packed samples.

    Attributes:
        rows: (K,) indices into the packed samples, ray after ray.
        offsets: (A + 1,) where the rows of each of the A rays begin.
    """

    rows: Tensor
    offsets: Tensor


def leading_rows(begin: Tensor, counts: Tensor) -> Rows:
    """List the rows ``begin[a], ..., begin[a] + counts[a] - 1`` of A rays.

    >>> leading_rows(torch.tensor([4, 9]), torch.tensor([2, 1]))
    Rows(rows=tensor([4, 5, 9]), offsets=tensor([0, 2, 3]))
    """
    offsets = torch.nn.functional.pad(counts.cumsum(0), (1, 0))
    rows = torch.arange(int(offsets[-1]), device=counts.device)
    return Rows(rows + torch.repeat_interleave(begin - offsets[:-1], counts), offsets)


def optical_depth(density: Tensor, dt: Tensor, offsets: Tensor) -> Tensor:
    """Optical depth between each sample and the start of its ray.

    Args:
        density: (M,) per unit length, >= 0.
        dt: (M,) interval lengths.
        offsets: (N + 1,) the samples of ray r are ``offsets[r]:offsets[r + 1]``.

    Returns:
        (M,) float64, >= 0.

    >>> optical_depth(torch.tensor([2.0, 1.0, 4.0]), torch.ones(3), torch.tensor([0, 2, 3])).tolist()
    [0.0, 2.0, 0.0]
    """
    own = (density * dt).double()
    before = torch.cumsum(own, 0) - own
    counts = offsets[1:] - offsets[:-1]
    starts = before[offsets[:-1].clamp(max=max(len(own) - 1, 0))] if len(own) else own.new_zeros(len(counts))
    return before - torch.repeat_interleave(starts, counts)


class Lit(NamedTuple):
    """How far light reaches along each ray.

    Attributes:
        counts: (N,) int64, number of leading samples that it reaches.
        depths: (M,) float64, optical depth of each sample; 0 where it was not needed.
    """

    counts: Tensor
    depths: Tensor


def follow_light(samples: Samples, viewdirs: Tensor, alpha_fn: AlphaFunction, least_transmittance: float = 1e-4) -> Lit:
    """Evaluate opacities as far as light reaches.

    They are evaluated in waves, the nearest samples first, so that few are evaluated behind the first surface.

    Args:
        samples: M samples of N rays.
        viewdirs: (N, 3) directions of the rays.
        alpha_fn: Opacities (K,) of intervals at positions (K, 3), seen along (K, 3), of length (K,).
        least_transmittance: A sample behind less transmittance is not lit; in (0, 1).

    Returns:
        Lit samples per ray, and what was found.

    >>> one_ray = Samples(torch.zeros(3, 3), torch.ones(3), torch.ones(3), torch.zeros(3).long(), torch.tensor([0, 3]))
    >>> follow_light(one_ray, torch.zeros(1, 3), lambda x, d, dt: torch.full((len(x),), 0.99)).counts.tolist()
    [2]
    """
    limit = -math.log(least_transmittance)
    begin, end = samples.offsets[:-1].clone(), samples.offsets[1:]
    depths = torch.zeros(len(samples.t), dtype=torch.float64, device=begin.device)
    lit, depth = torch.zeros_like(begin), depths.new_zeros(len(begin))
    alive, size = (begin < end).nonzero().squeeze(1), _FIRST_WAVE
    while len(alive):
        counts = (end[alive] - begin[alive]).clamp(max=size)
        rows, offsets = leading_rows(begin[alive], counts)
        x, _, dt, rays = (part.index_select(0, rows) for part in samples[:4])
        own = -torch.log1p(-alpha_fn(x, viewdirs.index_select(0, rays), dt)).clamp(min=-OPAQUE)
        depths[rows] = own.double()
        before = optical_depth(own, torch.ones_like(own), offsets) + torch.repeat_interleave(depth[alive], counts)
        passed = torch.nn.functional.pad(torch.cumsum(before <= limit, 0), (1, 0))[offsets]
        lit[alive] += passed[1:] - passed[:-1]
        last = offsets[1:] - 1
        depth[alive] = before[last] + own[last]
        begin[alive] += counts
        alive = alive[(begin[alive] < end[alive]) & (depth[alive] <= limit)]
        size *= 4
    return Lit(lit, depths)


def kept_samples(samples: Samples, keep: Tensor) -> Samples:
    """The samples where ``keep`` (M,) is set, of the same N rays.

    >>> ray, offsets = torch.tensor([0, 0, 1]), torch.tensor([0, 2, 3])
    >>> two = Samples(torch.zeros(3, 3), torch.arange(3.0), torch.ones(3), ray, offsets)
    >>> kept = kept_samples(two, torch.tensor([False, True, False]))
    >>> kept.t.tolist(), kept.offsets.tolist()
    ([1.0], [0, 1, 1])
    """
    rows = keep.nonzero().squeeze(1)
    x, t, dt, ray_indices = (value.index_select(0, rows) for value in samples[:4])
    return Samples(x, t, dt, ray_indices, torch.nn.functional.pad(keep.cumsum(0), (1, 0))[samples.offsets])


@torch.no_grad()
def visible_samples(
    samples: Samples, viewdirs: Tensor, alpha_fn: AlphaFunction, least_transmittance: float = 1e-4
) -> Samples:
    """Keep the samples that light still reaches.

    Args:
        samples: M samples of N rays.
        viewdirs: (N, 3) directions of the rays.
        alpha_fn: See `follow_light`.
        least_transmittance: Samples behind less transmittance are dropped; in (0, 1).

    Returns:
        The kept samples of the same N rays, in the same order.

    >>> one_ray = Samples(torch.zeros(3, 3), torch.ones(3), torch.ones(3), torch.zeros(3).long(), torch.tensor([0, 3]))
    >>> visible_samples(one_ray, torch.zeros(1, 3), lambda x, d, dt: torch.full((len(x),), 0.99)).offsets.tolist()
    [0, 2]
    """
    lit = follow_light(samples, viewdirs, alpha_fn, least_transmittance).counts
    rows, offsets = leading_rows(samples.offsets[:-1], lit)
    x, t, dt, indices = (value.index_select(0, rows) for value in samples[:4])
    return Samples(x, t, dt, indices, offsets)


@torch.no_grad()
def affordable_samples(marched: Samples, viewdirs: Tensor, choose_fn: ChoiceFunction, most: int) -> tuple[Samples, int]:
    """Choose samples of as many leading rays as together have at most ``most`` chosen ones.

    Rays are looked at group by group, so that hardly any is looked at in vain, however few of its samples are chosen.

    Args:
        marched: Samples of N rays.
        viewdirs: (N, 3) directions of the rays.
        choose_fn: Samples to keep of those of K rays with directions (K, 3): `visible_samples`, for example.
        most: Number of samples to stay within; the first ray is taken even if it alone has more.

    Returns:
        The samples, and the number of rays they belong to.

    >>> three = Samples(torch.zeros(3, 3), torch.arange(3.0), torch.ones(3), torch.tensor([0, 1, 2]), torch.arange(4))
    >>> samples, rays = affordable_samples(three, torch.zeros(3, 3), lambda samples, viewdirs: samples, most=2)
    >>> samples.t.tolist(), rays
    ([0.0, 1.0], 2)
    """
    total = len(marched.offsets) - 1
    parts: list[Samples] = []
    rays, room = 0, most
    while rays < total and room > 0:
        end = max(rays_within(marched, int(marched.offsets[rays]) + most), rays + 1)
        part = choose_fn(some_rays(marched, rays, end), viewdirs[rays:end])
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
