"""Balls of a medium that absorbs and glows evenly: what volume rendering can show exactly.

A ray that runs a length ``L`` inside such a ball meets the opacity ``1 - exp(-density * L)`` (Beer and Lambert), in the
colour of the medium; light is not refracted.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from nerfcomp.geometry.rays import Rays
from nerfcomp.readers.solids import Vector


class Glass(NamedTuple):
    """A semi-transparent ball.

    Attributes:
        center: World position.
        radius: World units.
        color: Display-encoded RGB in [0, 1].
        density: Per world unit, above 0.
    """

    center: Vector
    radius: float
    color: Vector
    density: float


class Span(NamedTuple):
    """Where N rays are inside a ball: distances (N,), equal where a ray misses it."""

    enter: Tensor
    leave: Tensor


def span(glass: Glass, rays: Rays, end: Tensor) -> Span:
    """Find the part of every ray inside a ball, up to ``end`` (N,).

    >>> ray = Rays(*(torch.tensor([v]) for v in ([0.0, 0, -3], [0, 0, 1.0], [0.0], [9.0], [0, 0, 1.0])))
    >>> [float(t) for t in span(Glass((0, 0, 0), 1.0, (1, 1, 1), 1.0), ray, torch.tensor([3.5]))]
    [2.0, 3.5]
    """
    offset = rays.origins - rays.origins.new_tensor(glass.center)
    middle = -(offset * rays.directions).sum(-1)
    half = (glass.radius**2 - offset.square().sum(-1) + middle.square()).clamp_min(0).sqrt()
    enter = torch.minimum((middle - half).clamp_min(0), end)
    return Span(enter, torch.minimum((middle + half).clamp_min(0), end))


def behind_glass(balls: Sequence[Glass], rays: Rays, rgba: Tensor, depth: Tensor) -> Tensor:
    """Lay balls before what rays see behind them.

    Args:
        balls: They do not overlap.
        rays: N rays with directions of unit length.
        rgba: (N, 4) premultiplied colour of what is behind.
        depth: (N,) its distance; infinite where there is nothing.

    Returns:
        (N, 4) premultiplied colour.
    """
    if not balls:
        return rgba
    spans = [span(ball, rays, depth) for ball in balls]
    alphas = torch.stack([-torch.expm1(-ball.density * (s.leave - s.enter)) for ball, s in zip(balls, spans)])
    colors = rgba.new_tensor([(*ball.color, 1.0) for ball in balls])
    for ball in torch.stack([part.enter for part in spans]).argsort(0, descending=True):  # the farthest first
        rgba = torch.lerp(rgba, colors[ball], alphas.gather(0, ball[None]).T)
    return rgba
