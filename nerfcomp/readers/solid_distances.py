"""Signed distances of the procedural solids in torch: what meshes of them are measured against."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from nerfcomp.readers.solids import Solid, rotation


def solid_distance(solids: Sequence[Solid], x: Tensor) -> Tensor:
    """Distance to the nearest of some solids, negative inside; exact outside and on the surface.

    Args:
        solids: At least one.
        x: (M, 3) positions. Differentiable.

    Returns:
        (M,).

    >>> ball = Solid("sphere", (0.0, 0.0, 0.0), (0.5, 0.0, 0.0), ((1, 1, 1), (1, 1, 1)))
    >>> solid_distance([ball], torch.tensor([[0.0, 0.0, 2.0]])).tolist()
    [1.5]
    """
    return torch.stack([_distance(solid, x) for solid in solids]).amin(0)


def _distance(solid: Solid, x: Tensor) -> Tensor:
    q: Tensor = (x - x.new_tensor(solid.center)) @ torch.from_numpy(rotation(solid.turn)).to(x).T
    a, b, c = solid.size
    if solid.shape == "sphere":
        radius: Tensor = torch.linalg.vector_norm(q, dim=1)
        return radius - a
    across = torch.linalg.vector_norm(q[:, :2], dim=1)
    if solid.shape == "torus":
        return torch.hypot(across - a, q[:, 2]) - b
    if solid.shape == "box":
        excess = q.abs() - x.new_tensor([a, b, c]) + solid.rounding
    else:
        excess = torch.stack([across - a, q[:, 2].abs() - b, torch.full_like(across, -math.inf)], 1) + solid.rounding
    outside: Tensor = torch.linalg.vector_norm(excess.clamp(min=0), dim=1)
    return outside + excess.amax(1).clamp(max=0) - solid.rounding
