"""Rendering against closed forms, and waves against the plain path."""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from nerfcomp.geometry.rays import Rays
from nerfcomp.rendering import OccupancySampler, Rendered, images, render, render_image
from nerfcomp.rendering.losses import distortion_loss, opacity_entropy_loss
from tests.rendering.conftest import Ball, Shade
from tests.rendering.opacities import about

RaysInto = Callable[[int, float], Rays]
BOX = torch.tensor([[-1.0] * 3, [1.0] * 3])


def sampler_of(ball: Ball, cascades: int = 1, n_steps: int = 1024) -> OccupancySampler:
    """A sampler that knows every cell that the ball touches."""
    sampler = OccupancySampler(resolution=32, cascades=cascades, n_steps=n_steps)
    sampler.prepare(BOX * 2 ** (cascades - 1))
    half_diagonal = 3**0.5 / 32
    sampler.grid.rebuild(about(ball._replace(radius=ball.radius + half_diagonal).density), 1)
    return sampler.eval()


@pytest.mark.parametrize("cascades", [1, 2])
def test_opacity_of_a_ball(ball: Ball, rays_into: RaysInto, cascades: int) -> None:
    """1 - exp(-sigma * chord), up to half a step at either end: an error of 20 * 0.0034 at most."""
    rays = rays_into(500, 0.8)
    sampler = sampler_of(ball, cascades)
    out = render(ball.shade, rays, sampler(rays), torch.zeros(3))
    error = (out.opacity - (1 - torch.exp(-ball.sigma * ball.chord(rays)))).abs()
    assert float(error.max()) < ball.sigma * sampler.step_size
    assert float(error.mean()) < 0.1 * ball.sigma * sampler.step_size


def test_jitter_makes_the_optical_depth_unbiased(rays_into: RaysInto) -> None:
    """Monte Carlo: the mean over jitters of sigma * sum dt comes to sigma * chord, though steps are coarse."""
    ball, n = Ball(sigma=1.0), 4000
    one = rays_into(1, 0.3)
    rays = Rays(*(value.expand(n, -1).contiguous() for value in one))
    sampler = sampler_of(Ball(sigma=1000.0), n_steps=16)
    samples = sampler(rays, torch.rand(n))
    inside = ball.density(samples.x) * samples.dt
    depth = torch.zeros(n).index_add(0, samples.ray_indices, inside)
    deviation = float(depth.std()) / math.sqrt(n)
    assert float(depth.std()) > 0
    assert abs(float(depth.mean()) - float(ball.chord(one))) < 5 * deviation


def test_background_shows_through(ball: Ball, rays_into: RaysInto) -> None:
    rays = rays_into(200, 0.9)
    samples = sampler_of(ball)(rays)
    black, grey, own = (
        render(ball.shade, rays, samples, background)
        for background in (torch.zeros(3), torch.full((3,), 0.5), torch.rand(200, 3))
    )
    torch.testing.assert_close(grey.rgb, black.rgb + 0.5 * (1 - black.opacity).unsqueeze(1))
    assert own.rgb.shape == (200, 3)
    missed = black.opacity == 0
    assert 0 < int(missed.sum()) < 200
    assert bool((grey.rgb[missed] == 0.5).all())


def test_depth_of_a_dense_ball_is_its_surface(rays_into: RaysInto) -> None:
    ball = Ball(sigma=5000.0)
    rays = rays_into(100, 0.3)
    out = render(ball.shade, rays, sampler_of(ball)(rays), torch.zeros(3))
    surface = -(rays.origins * rays.directions).sum(1) - ball.chord(rays) / 2
    assert float((out.depth / out.opacity - surface).abs().max()) < 2 * 0.0034


def test_gradients_reach_the_field(ball: Ball, rays_into: RaysInto) -> None:
    rays = rays_into(50, 0.5)
    sigma = torch.tensor(2.0, requires_grad=True)

    def shade(x: Tensor, d: Tensor, dt: Tensor) -> Shade:
        return Shade(1 - torch.exp(-sigma * dt), torch.ones(len(x), 3))

    samples = sampler_of(ball, n_steps=64)(rays)
    render(shade, rays, samples, torch.zeros(3)).rgb.sum().backward()
    length = torch.zeros(50).index_add(0, samples.ray_indices, samples.dt)
    assert sigma.grad is not None
    torch.testing.assert_close(sigma.grad, 3 * (length * torch.exp(-2.0 * length)).sum())


@pytest.mark.slow
@pytest.mark.parametrize("sigma", [0.5, 20.0, 2000.0])
@pytest.mark.parametrize(("chunk", "at_once"), [(64, 2**15), (10_000, 2**15), (10_000, 100)])
def test_waves_equal_the_plain_path(
    rays_into: RaysInto, monkeypatch: pytest.MonkeyPatch, sigma: float, chunk: int, at_once: int
) -> None:
    monkeypatch.setattr(images, "_SAMPLES_AT_ONCE", at_once)
    ball, rays = Ball(sigma=sigma), rays_into(300, 0.9)
    sampler, background = sampler_of(Ball(sigma=1000.0)), torch.rand(300, 3)
    plain = render(ball.shade, rays, sampler(rays), background)
    waves = render_image(ball.shade, rays, sampler, background, chunk)
    for part in ("rgb", "depth", "opacity"):
        torch.testing.assert_close(getattr(waves, part), getattr(plain, part), rtol=0, atol=1e-4)
    assert waves.weights is None and waves.samples is None


def test_waves_ask_the_field_less(rays_into: RaysInto) -> None:
    ball, rays = Ball(sigma=2000.0), rays_into(300, 0.5)
    asked = 0

    def shade(x: Tensor, d: Tensor, dt: Tensor) -> Shade:
        nonlocal asked
        asked += len(x)
        return ball.shade(x, d, dt)

    sampler = sampler_of(ball)
    render_image(shade, rays, sampler, torch.zeros(3))
    assert 0 < asked < 0.3 * len(sampler(rays).t)


@pytest.mark.slow
@pytest.mark.parametrize("sigma", [0.5, 20.0, 2000.0])
@pytest.mark.parametrize("cone_angle", [0.0, 1 / 64])
def test_portions_equal_the_whole(rays_into: RaysInto, sigma: float, cone_angle: float) -> None:
    ball, rays = Ball(sigma=sigma), rays_into(300, 0.9)
    sampler, background = sampler_of(Ball(sigma=1000.0)), torch.rand(300, 3)
    sampler.cone_angle = cone_angle
    whole = render_image(ball.shade, rays, sampler, background)
    for portion in (7, 32):
        place = partial(sampler, most=portion)
        parts = render_image(ball.shade, rays, place, background, chunk=128, portion=portion)
        for part in ("rgb", "depth", "opacity"):
            torch.testing.assert_close(getattr(parts, part), getattr(whole, part), rtol=0, atol=2e-4)


@pytest.mark.parametrize("n", [0, 7])
def test_rays_without_samples(ball: Ball, rays_into: RaysInto, n: int) -> None:
    away = rays_into(n, 0.1)
    away = away._replace(directions=-away.directions, viewdirs=-away.viewdirs)
    sampler, background = sampler_of(ball), torch.full((3,), 0.25)
    for out in (
        render(ball.shade, away, sampler(away), background),
        render_image(ball.shade, away, sampler, background),
    ):
        assert out.rgb.tolist() == [[0.25] * 3] * n
        assert out.depth.tolist() == out.opacity.tolist() == [0.0] * n


def test_opacity_entropy() -> None:
    """-o ln o at 0, 1/e and 1: 0, 1/e and 0."""
    opacity = torch.tensor([0.0, math.exp(-1), 1.0], dtype=torch.float64, requires_grad=True)
    loss = opacity_entropy_loss(opacity)
    assert abs(float(loss.detach()) - math.exp(-1) / 3) < 1e-8
    assert torch.autograd.gradcheck(opacity_entropy_loss, (torch.rand(5, dtype=torch.float64, requires_grad=True),))


def test_distortion_of_a_render(ball: Ball, rays_into: RaysInto) -> None:
    rays = rays_into(50, 0.5)
    out = render(ball.shade, rays, sampler_of(ball)(rays), torch.zeros(3))
    thin = render(Ball(sigma=1000.0).shade, rays, sampler_of(ball)(rays), torch.zeros(3))
    assert 0 < float(distortion_loss(thin, 50)) < 0.1 * float(distortion_loss(out, 50))
    with pytest.raises(ValueError, match="only render"):
        distortion_loss(Rendered(out.rgb, out.depth, out.opacity), 50)


def test_what_shading_knows_reaches_losses_and_pictures(ball: Ball, rays_into: RaysInto) -> None:
    """Normals of the ball, blended like colours by both renderers; samples keep what the field said of them."""

    class Surface(NamedTuple):
        alpha: torch.Tensor
        rgb: torch.Tensor
        normals: torch.Tensor

    def shade(x: torch.Tensor, d: torch.Tensor, dt: torch.Tensor) -> Surface:
        found = ball.shade(x, d, dt)
        return Surface(found.alpha, found.rgb, torch.nn.functional.normalize(x, dim=1))

    rays, sampler = rays_into(40, 0.5), sampler_of(ball)
    whole = render(shade, rays, sampler(rays), torch.ones(3))
    waves = render_image(shade, rays, sampler, torch.ones(3))
    assert whole.shade is not None and whole.weights is not None and whole.samples is not None
    assert whole.normals is not None and waves.normals is not None and whole.shade.normals is not None
    expected = torch.zeros(40, 3)
    for ray, weight, normal in zip(whole.samples.ray_indices.tolist(), whole.weights, whole.shade.normals):
        expected[ray] += weight * normal
    torch.testing.assert_close(whole.normals, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(waves.normals, expected, atol=2e-4, rtol=0)
    beside = Rays(rays.origins + 9.0, *rays[1:])  # a chunk of rays that hit nothing
    both = Rays(*(torch.cat([one, other, one]) for one, other in zip(rays, beside)))
    parts = render_image(shade, both, sampler, torch.ones(3), chunk=40).normals
    assert parts is not None
    torch.testing.assert_close(parts, torch.cat([waves.normals, torch.zeros_like(expected), waves.normals]))
    assert expected.norm(dim=1).max() > 0.9
