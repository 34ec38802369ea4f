"""Choosing the samples that a surface is trained on: those with a weight in their pixel.

Between cameras and a surface most samples are not hidden, and yet weigh nothing. Distances at both ends of all
intervals say so cheaply, as neighbours share an end; normals and colours, which cost several times as much, are left
for the few that matter.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from nerfcomp.kernels.composite import composite
from nerfcomp.kernels.march import Samples
from nerfcomp.rendering.visibility import kept_samples

_TOUCH = 1e-3  # of an interval: neighbours this close share an end


@torch.no_grad()
def end_distances(samples: Samples, viewdirs: Tensor, sdf_fn: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Signed distances where each of M intervals begins and ends.

    Args:
        samples: M samples of N rays.
        viewdirs: (N, 3) directions of the rays.
        sdf_fn: Distances (K,) at positions (K, 3).

    Returns:
        (M,) and (M,).

    >>> x, ray = torch.tensor([[0.5, 0.0, 0.0], [1.5, 0.0, 0.0]]), torch.zeros(2).long()
    >>> two = Samples(x, x[:, 0], torch.ones(2), ray, torch.tensor([0, 2]))
    >>> before, after = end_distances(two, torch.tensor([[1.0, 0.0, 0.0]]), lambda x: 3 - x[:, 0])
    >>> before.tolist(), after.tolist()
    ([3.0, 2.0], [2.0, 1.0])
    """
    count = len(samples.t)
    half = viewdirs.index_select(0, samples.ray_indices) * (samples.dt / 2).unsqueeze(1)
    begin, end = samples.t - samples.dt / 2, samples.t + samples.dt / 2
    shared = (begin[1:] - end[:-1]).abs() <= _TOUCH * samples.dt[1:]
    last = torch.ones_like(samples.dt, dtype=torch.bool)
    last[:-1] = ~(shared & (samples.ray_indices[1:] == samples.ray_indices[:-1]))
    alone = last.nonzero().squeeze(1)
    found = sdf_fn(torch.cat([samples.x - half, (samples.x + half).index_select(0, alone)]))
    before, after = found[:count], found[:count].roll(-1)
    after[alone] = found[count:]
    return before, after


@torch.no_grad()
def weighty_samples(samples: Samples, alpha: Tensor, least_weight: float) -> Samples:
    """Keep the samples that make up more than a share of their pixel.

    Args:
        samples: M samples of N rays.
        alpha: (M,) their opacities.
        least_weight: The share.

    Returns:
        The kept samples of the same N rays.

    >>> one_ray = Samples(torch.zeros(3, 3), torch.ones(3), torch.ones(3), torch.zeros(3).long(), torch.tensor([0, 3]))
    >>> weighty_samples(one_ray, torch.tensor([0.0, 0.995, 0.9]), 0.01).offsets.tolist()
    [0, 1]
    """
    weights = composite(alpha, samples.x, samples.t, samples.offsets, 0.0).weights
    return kept_samples(samples, weights > least_weight)
