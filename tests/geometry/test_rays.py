"""Rays against slow references, and NDC against the perspective matrix."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nerfcomp.geometry.cameras import Camera, make_camera, project
from nerfcomp.geometry.paths import look_at
from nerfcomp.geometry.rays import camera_rays, image_rays, ndc_rays

HALF_WIDTH, HALF_HEIGHT = 0.7, 0.5


def some_camera(distortion: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0), views: int = 4) -> Camera:
    poses = look_at(torch.randn(views, 3) * 3, torch.randn(views, 3), torch.randn(views, 3))
    camera = make_camera(poses, 30, 50, (45.0, 48.0), (27.0, 13.0), distortion)
    return camera._replace(intrinsics=camera.intrinsics + torch.rand(views, 4))


def test_camera_rays_agree_with_a_slow_reference() -> None:
    camera = some_camera()
    view, x, y = torch.tensor([0, 3, 2, 3]), torch.tensor([0, 49, 7, 20]), torch.tensor([0, 29, 11, 5])
    rays = camera_rays(camera, view, x, y, 2.0, 6.0)
    for n in range(4):
        fx, fy, cx, cy = camera.intrinsics[view[n]].tolist()
        a, b = (int(x[n]) + 0.5 - cx) / fx, -(int(y[n]) + 0.5 - cy) / fy
        length = math.sqrt(a * a + b * b + 1)
        rotation = camera.c2w[view[n], :, :3].tolist()
        slow = [sum(rotation[i][j] * (a, b, -1)[j] for j in range(3)) / length for i in range(3)]
        assert rays.directions[n].tolist() == pytest.approx(slow, abs=1e-6)
        assert torch.equal(rays.origins[n], camera.c2w[view[n], :, 3])
    assert rays.near.tolist() == [[2.0]] * 4
    assert rays.far.tolist() == [[6.0]] * 4
    assert torch.equal(rays.viewdirs, rays.directions)
    assert {part.dtype for part in rays} == {torch.float32}


@pytest.mark.parametrize("ndc", [False, True])
@pytest.mark.parametrize("distortion", [(0.0, 0.0, 0.0, 0.0), (-0.1, 0.02, 0.003, -0.002)])
def test_image_rays_are_the_rays_of_all_pixels_in_row_major_order(
    ndc: bool, distortion: tuple[float, float, float, float]
) -> None:
    camera = some_camera(distortion)
    near, far = 1.0, 2.0
    if ndc:
        camera = camera._replace(c2w=torch.eye(3, 4) + torch.randn(4, 3, 1) * torch.tensor([0.0, 0.0, 0.0, 0.1]))
        near, far = 0.0, 1.0
    image = image_rays(camera, 2, near, far, ndc)
    pixel = torch.arange(30 * 50)
    single = camera_rays(camera, torch.full_like(pixel, 2), pixel % 50, pixel // 50, near, far, ndc)
    for whole, part in zip(image, single):
        torch.testing.assert_close(whole, part, atol=1e-6, rtol=1e-6)


def test_views_may_differ_in_distortion() -> None:
    camera = some_camera()
    camera.distortion[1] = torch.tensor([-0.1, 0.0, 0.0, 0.0])
    view, pixel = torch.tensor([0, 1]), torch.tensor([3, 3])
    rays = camera_rays(camera, view, pixel, pixel, 0.0, 1.0)
    plain = camera_rays(camera._replace(distortion=torch.zeros(4, 4)), view, pixel, pixel, 0.0, 1.0)
    torch.testing.assert_close(rays.directions[0], plain.directions[0])
    assert (rays.directions[1] - plain.directions[1]).abs().max() > 1e-3


lens = st.tuples(st.floats(-0.25, 0.15), st.floats(-0.02, 0.05), st.floats(-0.005, 0.005), st.floats(-0.005, 0.005))


@settings(max_examples=50, deadline=None)
@given(
    lens,
    st.tuples(st.floats(450, 2000), st.floats(450, 2000)),
    st.tuples(st.floats(150, 250), st.floats(100, 200)),
    st.floats(0.1, 100),
    st.integers(0, 2**31),
)
def test_projecting_a_point_of_a_ray_gives_its_pixel_back(
    distortion: tuple[float, float, float, float],
    focal: tuple[float, float],
    center: tuple[float, float],
    distance: float,
    seed: int,
) -> None:
    generator = torch.Generator().manual_seed(seed)
    poses = look_at(torch.randn(3, 3, generator=generator), torch.randn(3, 3, generator=generator), torch.eye(3)[2])
    camera = make_camera(poses, 300, 400, focal, center, distortion)
    view = torch.randint(3, (40,), generator=generator)
    x, y = torch.rand(40, generator=generator) * 399, torch.rand(40, generator=generator) * 299
    rays = camera_rays(camera, view, x, y, 0.0, 1.0)
    torch.testing.assert_close(rays.directions.norm(dim=-1), torch.ones(40), atol=1e-6, rtol=0)
    seen = project(camera, view, rays.origins + distance * rays.directions)
    tolerance = 2e-3 + 1e-5 * max(focal) / distance  # close to a camera its own position costs digits
    torch.testing.assert_close((seen.x, seen.y), (x, y), atol=tolerance, rtol=0)
    assert (seen.depth > 0).all()


def to_ndc(points: Tensor) -> Tensor:
    """Perspective division by the matrix of a frustum from z = -1 to infinity."""
    x, y, z = points.unbind(-1)
    return torch.stack([x / (-z * HALF_WIDTH), y / (-z * HALF_HEIGHT), 1 + 2 / z], -1)


def forward_rays(count: int) -> tuple[Tensor, Tensor]:
    origins = torch.randn(count, 3) * 0.3
    directions = torch.cat([torch.randn(count, 2) * 0.4, -torch.ones(count, 1)], -1)
    return origins, directions / directions.norm(dim=-1, keepdim=True)


def test_ndc_segment_starts_on_the_near_plane_and_ends_at_infinity() -> None:
    origins, directions = forward_rays(100)
    rays = ndc_rays(origins, directions, 0.0, 1.0, HALF_WIDTH, HALF_HEIGHT)
    on_plane = origins - ((1 + origins[:, 2]) / directions[:, 2])[:, None] * directions
    torch.testing.assert_close(rays.origins, to_ndc(on_plane), atol=1e-5, rtol=1e-5)
    end = rays.origins + rays.far * rays.directions
    torch.testing.assert_close(end, to_ndc(origins + 1e6 * directions), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(rays.directions.norm(dim=-1), torch.ones(100))
    assert torch.equal(rays.viewdirs, directions)
    assert (rays.near == 0).all()


def test_ndc_rays_pass_through_the_images_of_world_points() -> None:
    origins, directions = forward_rays(100)
    rays = ndc_rays(origins, directions, 0.0, 1.0, HALF_WIDTH, HALF_HEIGHT)
    image = to_ndc(origins + 3.0 * directions)
    along = ((image - rays.origins) * rays.directions).sum(-1, keepdim=True)
    torch.testing.assert_close(rays.origins + along * rays.directions, image, atol=1e-5, rtol=1e-5)
    assert ((0 < along) & (along < rays.far)).all()


def test_ndc_bounds_are_fractions_of_the_segment() -> None:
    origins, directions = forward_rays(10)
    whole = ndc_rays(origins, directions, 0.0, 1.0, HALF_WIDTH, HALF_HEIGHT)
    part = ndc_rays(origins, directions, 0.25, 0.5, HALF_WIDTH, HALF_HEIGHT)
    torch.testing.assert_close(part.near, 0.25 * whole.far)
    torch.testing.assert_close(part.far, 0.5 * whole.far)


def test_rays_that_never_enter_the_frustum_see_nothing() -> None:
    directions = torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 0.6, -0.8]])
    rays = ndc_rays(torch.zeros(3, 3), directions, 0.0, 1.0, HALF_WIDTH, HALF_HEIGHT)
    assert (rays.far[:2] == 0).all() and (rays.near[:2] == 0).all() and rays.far[2] > 0
    assert torch.equal(rays.directions[:2], directions[:2])
    assert all(part.isfinite().all() for part in rays)


def test_all_views_share_the_ndc_of_the_first() -> None:
    camera = make_camera(torch.eye(3, 4).repeat(2, 1, 1), 20, 40, 30.0)
    camera.intrinsics[1] = torch.tensor([60.0, 60.0, 20.0, 10.0])
    corner = camera_rays(
        camera, torch.tensor([0, 1]), torch.tensor([39.5] * 2), torch.tensor([19.5] * 2), 0.0, 1.0, True
    )
    assert corner.origins.flatten().tolist() == pytest.approx([1.0, -1.0, -1.0, 0.5, -0.5, -1.0])
    assert corner.far.flatten().tolist() == pytest.approx([2.0, 2.0])
