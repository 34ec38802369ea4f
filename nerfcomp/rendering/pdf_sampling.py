"""Distances along rays: stratified ones, and ones drawn from a density that a first pass found.

Notation of this file: ``N`` rays, ``S`` distances of each, ascending. A ray's jitter in [0, 1) makes all of its random
numbers, by steps of the golden ratio; a ray of jitter 0 is not disturbed at all.

Source: Mildenhall et al., "NeRF" (2020), section 5.2 and equation 5.
"""

import torch
from torch import Tensor

_GOLDEN = 0.6180339887498949  # its multiples, modulo 1, fill [0, 1) as evenly as a sequence can
_LEAST_WEIGHT = 1e-5  # keeps every place possible
_LEAST_CHANCE = 1e-5  # below this a bin's slope is not worth a division
LAST_INTERVAL = 1e10  # what is behind the last distance counts as its own


def stratified(near: Tensor, far: Tensor, count: int, jitter: Tensor, lindisp: bool = False) -> Tensor:
    """Distances at equal steps, each moved at random between the middles of its neighbours.

    Args:
        near: (N, 1) first distance.
        far: (N, 1) last distance.
        count: Number of distances S, at least 2.
        jitter: (N,) in [0, 1).
        lindisp: Take equal steps of 1 / distance instead; ``near`` must be above 0 then.

    Returns:
        (N, S) ascending.

    >>> stratified(torch.tensor([[2.0]]), torch.tensor([[6.0]]), 5, torch.zeros(1)).tolist()
    [[2.0, 3.0, 4.0, 5.0, 6.0]]
    """
    part = torch.linspace(0.0, 1.0, count, device=near.device, dtype=near.dtype)
    t = 1 / (1 / near * (1 - part) + 1 / far * part) if lindisp else near * (1 - part) + far * part
    if jitter.device.type == "cpu" and not bool((jitter > 0).any()):  # asking a GPU means waiting for it
        return t
    middles = (t[:, 1:] + t[:, :-1]) / 2
    lower, upper = torch.cat([t[:, :1], middles], 1), torch.cat([middles, t[:, -1:]], 1)
    place = (jitter[:, None] + torch.arange(count, device=t.device) * _GOLDEN) % 1.0
    return torch.where(jitter[:, None] > 0, torch.lerp(lower, upper, place), t)


def sample_pdf(t: Tensor, weights: Tensor, count: int, jitter: Tensor) -> Tensor:
    """Distances distributed like the weights of a first pass.

    Args:
        t: (N, S) distances of the first pass, S >= 3.
        weights: (N, S) their weights; first and last are not looked at.
        count: Number of new distances.
        jitter: (N,) in [0, 1).

    Returns:
        (N, count) ascending, between the middles of the first and last interval.

    >>> t, weights = torch.tensor([[0.0, 2.0, 4.0, 6.0]]), torch.tensor([[0.0, 1.0, 1.0, 0.0]])
    >>> sample_pdf(t, weights, 3, torch.zeros(1)).tolist()
    [[1.0, 3.0, 5.0]]
    """
    bins = (t[:, 1:] + t[:, :-1]) / 2
    chance = weights[:, 1:-1] + _LEAST_WEIGHT
    cdf = torch.cumsum(chance / chance.sum(1, keepdim=True), 1)
    cdf = torch.cat([torch.zeros_like(cdf[:, :1]), cdf], 1)
    regular = torch.linspace(0.0, 1.0, count, device=t.device, dtype=t.dtype).expand(len(t), count)
    number = torch.arange(count, device=t.device)
    strata = (number + (jitter[:, None] + number * _GOLDEN) % 1.0) / count
    u = torch.where(jitter[:, None] > 0, strata, regular).contiguous()
    above = torch.searchsorted(cdf, u, right=True)
    below = (above - 1).clamp(min=0)
    above = above.clamp(max=cdf.shape[1] - 1)
    low, high = cdf.gather(1, below), cdf.gather(1, above)
    step = torch.where(high - low < _LEAST_CHANCE, torch.ones_like(low), high - low)
    start = bins.gather(1, below)
    return start + (u - low) / step * (bins.gather(1, above) - start)


def intervals(t: Tensor) -> Tensor:
    """Lengths (N, S) from each distance (N, S) to the next; practically without end behind the last.

    >>> intervals(torch.tensor([[1.0, 3.0]])).tolist()
    [[2.0, 10000000000.0]]
    """
    return torch.cat([t[:, 1:] - t[:, :-1], torch.full_like(t[:, :1], LAST_INTERVAL)], 1)
