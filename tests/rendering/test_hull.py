"""The signed distance of the visual hull against balls."""

import torch

from nerfcomp.rendering.hull import hull_distance


def test_the_hull_of_a_ball_is_its_distance() -> None:
    axis = (torch.arange(32) + 0.5) / 16 - 1
    radius = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij")).square().sum(0).sqrt()
    found = hull_distance((radius < 0.6)[None])
    assert float((found - (radius - 0.6)).abs().max()) < 1.5 / 16


def test_all_or_nothing() -> None:
    assert float(hull_distance(torch.ones(1, 4, 4, 4, dtype=torch.bool)).max()) < 0
    assert float(hull_distance(torch.zeros(1, 4, 4, 4, dtype=torch.bool)).min()) > 0
