"""Both passes against a slow renderer of the equations; empty space left out without a change of the picture."""

import numpy as np
import pytest
import torch

from nerfcomp.descriptions import Description
from nerfcomp.errors import ContainerError
from nerfcomp.fields import NeRFField
from nerfcomp.geometry.rays import Rays, ndc_rays
from nerfcomp.rendering import HierarchicalSampler, build_sampler, describe_sampler, render_image
from tests.nerf_reference import render_ray
from tests.rendering.opacities import about, along

BOX = torch.tensor([[-1.5] * 3, [1.5] * 3])


def some_rays(count: int = 6, dtype: torch.dtype = torch.float64) -> tuple[Rays, torch.Tensor]:
    """Rays towards the origin, and their directions as long as a camera with its plane at distance 1 makes them."""
    origins = torch.nn.functional.normalize(torch.randn(count, 3).double(), dim=1) * 4
    long = -origins / 4 + torch.rand(count, 3).double() * 0.4 - 0.2
    length = long.norm(dim=1, keepdim=True)
    unit = long / length
    return Rays(*(v.to(dtype) for v in (origins, unit, 2 * length, 6 * length, unit))), long


def field_and_sampler(width: int = 32, **options: object) -> tuple[NeRFField, HierarchicalSampler]:
    torch.manual_seed(1)
    field = NeRFField(width=width).double().eval()
    with torch.no_grad():
        for network in field.networks:
            network.alpha_linear.weight *= 40  # densities from none to opaque
    sampler = HierarchicalSampler(**{"resolution": 16, **options}).double().eval()  # type: ignore[arg-type]
    sampler.prepare(BOX.double())
    return field, sampler


def picture(field: NeRFField, sampler: HierarchicalSampler, rays: Rays) -> torch.Tensor:
    background = torch.ones(3, dtype=rays.near.dtype)
    place = lambda r: sampler(r, torch.zeros(len(r.near)), field.coarse_alpha)  # noqa: E731
    return render_image(field.shade, rays, place, background, early_stop=sampler.least_transmittance).rgb


@pytest.mark.parametrize("lindisp", [False, True])
def test_picture_is_that_of_the_reference(lindisp: bool) -> None:
    field, sampler = field_and_sampler(lindisp=lindisp)
    rays, long = some_rays()
    found = picture(field, sampler, rays)
    for row in range(len(long)):
        expected = render_ray(
            field.networks[0].state_dict(),
            field.networks[1].state_dict(),
            rays.origins[row].numpy(),
            long[row].numpy(),
            (2.0, 6.0),
            lindisp=lindisp,
        )
        np.testing.assert_allclose(found[row].numpy(), expected, atol=1e-5)


def test_picture_in_ndc_is_that_of_the_reference() -> None:
    field, sampler = field_and_sampler(n_importance=64)
    origins = torch.rand(4, 3).double() * 0.2 - 0.1
    world = torch.cat([torch.rand(4, 2).double() - 0.5, -torch.ones(4, 1).double()], 1)
    rays = ndc_rays(origins, torch.nn.functional.normalize(world, dim=1), 0.0, 1.0, 0.7, 0.6)
    found = picture(field, sampler, rays)
    for row in range(4):
        # nerf-pytorch's NDC ray runs from 0 to 1 along a direction that is not normalised
        long = rays.directions[row] * rays.far[row]
        expected = render_ray(
            field.networks[0].state_dict(),
            field.networks[1].state_dict(),
            rays.origins[row].numpy(),
            long.numpy(),
            (0.0, 1.0),
            (64, 64),
            viewdir=world[row].numpy(),
        )
        np.testing.assert_allclose(found[row].numpy(), expected, atol=1e-5)


def ball_field(x: torch.Tensor) -> torch.Tensor:
    return 30 * torch.relu(0.6 - x.norm(dim=1))


class Ball:
    """A coloured ball as a shade function that counts its questions."""

    def __init__(self) -> None:
        self.asked = 0
        self.normals: torch.Tensor | None = None

    def __call__(self, x: torch.Tensor, d: torch.Tensor, dt: torch.Tensor) -> "Ball":
        self.asked += len(x)
        self.alpha = -torch.expm1(-ball_field(x) * dt)
        self.rgb = torch.sigmoid(4 * x)
        return self


def test_empty_space_is_left_out_and_the_picture_stays() -> None:
    rays, _ = some_rays(300, torch.float32)
    sampler = HierarchicalSampler(resolution=32).eval()
    sampler.prepare(BOX)
    pictures, asked = [], []
    for _ in range(2):
        ball = Ball()
        place = lambda r: sampler(r, torch.zeros(len(r.near)), along(ball_field))  # noqa: E731
        pictures.append(render_image(ball, rays, place, torch.ones(3)).rgb)
        asked.append(ball.asked)
        sampler.learn([about(ball_field)])
    assert asked[1] < 0.7 * asked[0]
    assert torch.allclose(pictures[0], pictures[1], atol=1e-6)


def test_the_last_sample_stands_for_all_behind() -> None:
    """Were it left out, the least density there would change the picture."""
    rays, _ = some_rays(50, torch.float32)
    sampler = HierarchicalSampler(resolution=16, cascades=3).eval()
    sampler.prepare(BOX)
    sampler.set_occupied(torch.zeros_like(sampler.occupied))
    samples = sampler(rays, torch.zeros(50), along(ball_field))
    assert torch.allclose(samples.t, rays.far[:, 0]) and bool((samples.dt == 1e10).all())


def test_training_leaves_nothing_out_and_moves_the_samples() -> None:
    rays, _ = some_rays(5, torch.float32)
    sampler = HierarchicalSampler(resolution=16)
    sampler.prepare(BOX)
    sampler.set_occupied(torch.zeros_like(sampler.occupied))
    samples = sampler(rays, alpha_fn=along(ball_field))
    assert len(samples.t) == 5 * 192
    assert not torch.equal(samples.t, sampler(rays, alpha_fn=along(ball_field)).t)
    again = [sampler(rays, torch.full((5,), 0.3), along(ball_field)).t for _ in range(2)]
    assert torch.equal(*again)


def test_one_pass_needs_no_density() -> None:
    rays, _ = some_rays(5, torch.float32)
    sampler = HierarchicalSampler(n_importance=0, resolution=16).eval()
    sampler.prepare(BOX)
    assert len(sampler(rays).t) == 5 * 64
    with pytest.raises(ValueError, match="coarse"):
        HierarchicalSampler(resolution=16)(rays)


def test_description_rebuilds() -> None:
    sampler = HierarchicalSampler(n_samples=32, lindisp=True, resolution=16)
    twin = build_sampler(describe_sampler(sampler), BOX)
    assert isinstance(twin, HierarchicalSampler) and twin.arguments == sampler.arguments
    with pytest.raises(ContainerError):
        build_sampler(Description("nerfcomp.rendering.HierarchicalSampler", {"n_samples": 10**6}), BOX)
