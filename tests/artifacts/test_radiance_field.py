"""How much a picture of a scene seen from within costs, in samples."""

import math

import torch
from torch import Tensor

from nerfcomp.artifacts.radiance_field import RadianceFieldArtifact
from nerfcomp.artifacts.scene_info import SceneInfo
from nerfcomp.fields import RadianceField
from nerfcomp.fields.base import Shade
from nerfcomp.rendering import OccupancySampler, Samples, render_image


class Room(RadianceField):
    """Dense from a distance of 2 to the middle on; ``wall`` is the density."""

    wall = 300.0

    def density(self, x: Tensor) -> Tensor:
        return torch.where(x.norm(dim=1) > 2.0, self.wall, 0.0)

    def shade(self, x: Tensor, d: Tensor, dt: Tensor) -> Shade:
        return Shade(self.alpha(x, d, dt), torch.sigmoid(x))


def room() -> RadianceFieldArtifact:
    """A camera in the middle of a room whose walls are thick, in three cascades."""
    field, sampler = Room(), OccupancySampler(resolution=32, cascades=3, n_steps=256, cone_angle=1 / 128)
    box = torch.tensor([[-8.0] * 3, [8.0] * 3])
    field.set_aabb(box)
    sampler.prepare(box)
    sampler.grid.rebuild(field.peak_alpha)
    corners = ((-8.0, -8.0, -8.0), (8.0, 8.0, 8.0))
    pose = (1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    lens = (6.0, 6.0, 6.0, 6.0)
    scene = SceneInfo(corners, 0.1, 30.0, False, (0.0, 0.0, 0.0), 12, 12, lens, (0.0, 0.0, 0.0, 0.0), (pose,))
    return RadianceFieldArtifact(field=field.eval(), sampler=sampler.eval(), scene=scene)


def test_what_a_wall_hides_is_hardly_placed_or_shaded() -> None:
    trained = room()
    placed, shaded = [], []

    def count(module: torch.nn.Module, given: object, samples: Samples) -> None:
        placed.append(len(samples.t))

    def shade(x: Tensor, d: Tensor, dt: Tensor) -> Shade:
        shaded.append(len(x))
        return Room.shade(trained.field, x, d, dt)  # type: ignore[arg-type]

    rays = trained.random_rays(200, torch.Generator().manual_seed(0))
    whole = render_image(trained.field.shade, rays, trained.sampler, torch.zeros(3))
    trained.field.shade = shade  # type: ignore[method-assign]
    trained.sampler.register_forward_hook(count)
    picture = trained.render(rays)
    torch.testing.assert_close(picture.rgb, whole.rgb, rtol=0, atol=2.0**-9)
    assert math.isclose(float(picture.opacity.min()), 1.0, abs_tol=2.0**-9)
    per_ray = [sum(numbers) / 200 for numbers in (placed, shaded)]
    assert per_ray[0] <= 17 and per_ray[1] <= 8, per_ray
    assert len(trained.sampler(rays).t) / 200 > 100  # behind the wall it is as dense


def test_a_picture_ends_where_less_than_half_a_level_is_left() -> None:
    trained, shaded = room(), []
    trained.field.wall = 30.0  # type: ignore[assignment]

    def shade(x: Tensor, d: Tensor, dt: Tensor) -> Shade:
        shaded.append(len(x))
        return Room.shade(trained.field, x, d, dt)  # type: ignore[arg-type]

    rays = trained.random_rays(200, torch.Generator().manual_seed(0))
    whole = render_image(trained.field.shade, rays, trained.sampler, torch.zeros(3), early_stop=1e-6)
    trained.field.shade = shade  # type: ignore[method-assign]
    difference = (whole.rgb - trained.render(rays).rgb).abs().max()
    assert 1e-6 < float(difference) < 2.0**-9
    steps = math.ceil(9 * math.log(2) / (30.0 * 2 / 128))  # of 2 / 128 and more, until 2^-9 is left
    assert steps <= sum(shaded) / 200 <= steps + 8  # those in front of the wall, and half of the last wave


def test_a_picture_takes_no_more_samples_of_a_ray_than_tracing_does() -> None:
    trained = room()
    trained.field.wall = 0.5  # type: ignore[assignment]
    sampler = OccupancySampler(**{**trained.sampler.arguments, "max_samples": 32}).eval()
    sampler.prepare(trained.field.aabb)
    trained = trained.replace(sampler=sampler)
    rays = trained.random_rays(50, torch.Generator().manual_seed(0))
    assert int(sampler(rays).offsets.diff().min()) == 32
    torch.testing.assert_close(trained.render(rays).opacity, trained.trace(rays).opacity, rtol=0, atol=1e-4)
