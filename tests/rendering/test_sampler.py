"""Samplers: what they remember, and rebuilding them from descriptions that are not trusted."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from nerfcomp.descriptions import Description
from nerfcomp.errors import ContainerError
from nerfcomp.geometry.cameras import make_camera
from nerfcomp.geometry.rays import Rays, image_rays
from nerfcomp.kernels.march import intersect_box
from nerfcomp.rendering import OccupancySampler, build_sampler, describe_sampler
from tests.rendering.conftest import Ball
from tests.rendering.opacities import about

BOX = torch.tensor([[-1.0] * 3, [1.0] * 3])


def test_training_jitters_and_evaluation_does_not(ball: Ball, rays_into: Callable[[int, float], Rays]) -> None:
    sampler, rays = OccupancySampler(resolution=16, n_steps=64), rays_into(100, 0.9)
    sampler.prepare(BOX)
    assert not torch.equal(sampler(rays).t[:50], sampler(rays).t[:50])
    sampler.eval()
    assert torch.equal(sampler(rays).t, sampler(rays).t)
    given = torch.rand(100)
    assert torch.equal(sampler(rays, given).t, sampler.train()(rays, given).t)


def test_steps_across_the_innermost_cube(rays_into: Callable[[int, float], Rays]) -> None:
    """Two cascades of a cube of side 2: the inner diagonal is sqrt(3), a 64th of it 0.02706."""
    sampler = OccupancySampler(resolution=16, cascades=2, n_steps=64).eval()
    sampler.prepare(BOX)
    samples = sampler(rays_into(10, 0.5))
    torch.testing.assert_close(samples.dt, torch.full_like(samples.dt, 3**0.5 / 64))


@pytest.mark.parametrize("ndc", [False, True])
def test_no_training_ray_leaves_the_box_behind_its_reach(ndc: bool) -> None:
    """As rays of all pixels say; tighter than twice what they need."""
    turn = torch.linalg.qr(torch.eye(3) + 0.1 * torch.randn(5, 3, 3)).Q
    turn = turn * turn.diagonal(dim1=1, dim2=2).sign()[:, None]
    poses = torch.cat([turn, 0.3 * torch.randn(5, 3, 1)], 2)
    camera = make_camera(poses, height=12, width=16, focal=14.0)
    sampler = OccupancySampler(resolution=16)
    assert sampler.reach is None
    sampler.prepare(BOX, camera, ndc)
    bounds = (0.0, 1.0) if ndc else (0.0, 9.0)
    rays = [image_rays(camera, view, *bounds, ndc) for view in range(5)]
    leave = [intersect_box(*part[:4], BOX)[1].max() for part in rays]
    reach = sampler.reach
    assert reach is not None and max(leave) <= reach < 2.5 * max(leave)


def test_training_marches_coarsely_at_first() -> None:
    """Steps of twice the length, in training only, until the step that ``coarse_until`` names."""
    sampler = OccupancySampler(resolution=16, n_steps=64, warmup_steps=0, coarse_until=3)
    sampler.prepare(BOX)
    full = 12**0.5 / 64
    for step, expected in enumerate([2 * full, 2 * full, 2 * full, full, full]):
        sampler.update(step, about(lambda x: torch.ones(len(x))))
        assert sampler.train().step_size == pytest.approx(expected)
        assert sampler.eval().step_size == pytest.approx(full)


def test_update_runs_when_due() -> None:
    sampler, calls = OccupancySampler(resolution=8, update_every=4, warmup_steps=0, cells_per_update=100), list[int]()

    def density(x: Tensor) -> Tensor:
        calls.append(len(x))
        return torch.zeros(len(x))

    for step, expected in enumerate([1, 1, 1, 1, 2, 2, 2, 2, 3]):
        sampler.update(step, about(density))
        assert calls == [100] * expected


def test_it_saves_samples_in_empty_space(ball: Ball, rays_into: Callable[[int, float], Rays]) -> None:
    sampler, rays = OccupancySampler(resolution=32, n_steps=128).eval(), rays_into(200, 0.9)
    sampler.prepare(BOX)
    before = len(sampler(rays).t)
    for step in range(0, 256, 16):
        sampler.update(step, about(ball.density))
    samples = sampler(rays)
    assert len(samples.t) < 0.4 * before
    assert float(samples.x.norm(dim=1).max()) < ball.radius + 0.5 * 2 / 32 * 3**0.5 * 2


def test_description_rebuilds_an_equal_sampler(rays_into: Callable[[int, float], Rays]) -> None:
    sampler, rays = OccupancySampler(resolution=16, cascades=2, n_steps=99, cone_angle=1 / 64), rays_into(20, 0.9)
    sampler.prepare(BOX)
    sampler.set_occupied(torch.rand(2, 16, 16, 16) < 0.2)
    twin = build_sampler(describe_sampler(sampler), BOX)
    twin.load_state_dict(sampler.state_dict())
    assert torch.equal(twin.eval()(rays).t, sampler.eval()(rays).t)


@pytest.mark.parametrize(
    ("class_path", "arguments"),
    [
        ("os.system", {}),
        ("nerfcomp.rendering.OccupancyGrid", {}),
        ("nerfcomp.rendering.OccupancySampler", {"resolution": 100_000}),
        ("nerfcomp.rendering.OccupancySampler", {"n_steps": 10**9}),
        ("nerfcomp.rendering.OccupancySampler", {"cone_angle": float("nan")}),
        ("nerfcomp.rendering.OccupancySampler", {"resolution": "64"}),
        ("nerfcomp.rendering.OccupancySampler", {"colour": 1}),
    ],
)
def test_foreign_descriptions_are_refused(class_path: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(ContainerError):
        build_sampler(Description(class_path, arguments), BOX)
