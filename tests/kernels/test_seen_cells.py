"""Visibility of cells against a projection of points in plain torch."""

import math

import pytest
import torch
from torch import Tensor

from nerfcomp.geometry.cameras import Camera, make_camera, project
from nerfcomp.geometry.paths import look_at
from nerfcomp.kernels.seen_cells import seen_cells

BOX = torch.tensor([[-1.0] * 3, [1.0] * 3])


def ring(n: int, radius: float, focal: float = 30.0, distortion: tuple[float, ...] = (0.0,) * 4) -> Camera:
    """Cameras around the origin that look at it, 24 x 32 pixels."""
    angles = torch.arange(n) * (2 * math.pi / n)
    origins = torch.stack([angles.cos() * radius, angles.sin() * radius, torch.full((n,), 0.3 * radius)], 1)
    poses = look_at(origins, torch.zeros(3), torch.tensor([0.0, 0.0, 1.0]))
    return make_camera(poses, 24, 32, focal, (15.0, 13.0), distortion)  # type: ignore[arg-type]


def centers(resolution: int, box: Tensor = BOX) -> Tensor:
    axis = (torch.arange(resolution) + 0.5) / resolution
    grid = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1)
    return box[0] + grid * (box[1] - box[0])


def slow_seen(camera: Camera, points: Tensor) -> Tensor:
    """Whether the centre of a cell falls on any image."""
    flat, seen = points.reshape(-1, 3), torch.zeros(points[..., 0].numel(), dtype=torch.bool)
    for view in range(len(camera.c2w)):
        pixel = project(camera, torch.full((len(flat),), view), flat)
        x, y = pixel.x + 0.5, pixel.y + 0.5
        inside = (pixel.depth > 0) & (x >= 0) & (x <= camera.width) & (y >= 0) & (y <= camera.height)
        distance = (flat - camera.c2w[view, :, 3]).norm(dim=1)
        seen |= inside & (distance < 2 * pixel.depth)  # farther than 60 degrees off the axis these lenses fold over
    return seen.view(points.shape[:3])


@pytest.mark.parametrize("distortion", [(0.0, 0.0, 0.0, 0.0), (0.1, -0.02, 0.01, -0.01), (-0.1, 0.0, 0.0, 0.0)])
@pytest.mark.parametrize(("n", "radius"), [(1, 4.0), (3, 4.0), (5, 0.5)])
def test_every_cell_whose_centre_is_seen_counts_and_few_others(
    distortion: tuple[float, ...], n: int, radius: float
) -> None:
    camera = ring(n, radius, 90.0 if radius > 1 else 30.0, distortion)
    expected = slow_seen(camera, centers(24))
    seen = seen_cells(*camera, BOX, 1, 24)[0]
    assert bool((seen | ~expected).all())
    assert 0 < int(expected.sum()) < expected.numel()
    extra = int((seen & ~expected).sum())
    neighbours = torch.nn.functional.max_pool3d(expected[None, None].float(), 5, 1, 2)[0, 0].bool()
    assert extra < 0.25 * expected.numel()
    if radius > 1:
        assert bool((neighbours | ~seen).all())


def test_cascades_are_nested_cubes() -> None:
    camera = ring(1, 1.0, 90.0)
    seen = seen_cells(*camera, 4 * BOX, 3, 16)
    for cascade, scale in enumerate((1.0, 2.0, 4.0)):
        assert torch.equal(seen[cascade], seen_cells(*camera, scale * BOX, 1, 16)[0])


def test_cells_close_to_a_camera_do_not_count() -> None:
    camera = ring(4, 0.5)
    seen, clear = (seen_cells(*camera, BOX, 1, 24, near)[0] for near in (0.0, 0.3))
    distance = torch.cdist(centers(24).view(-1, 3), camera.c2w[:, :, 3]).amin(1).view(24, 24, 24)
    assert torch.equal(clear, seen & (distance >= 0.3))
    assert int(clear.sum()) < int(seen.sum())


def test_a_strong_barrel_lens_does_not_fold_the_outside_in() -> None:
    """With k1 = -0.5, r (1 - r^2 / 2) turns back at r^2 = 2/3: nothing farther out is seen near the centre."""
    pose = torch.tensor([[[1.0, 0, 0, 0], [0, 1.0, 0, 0], [0, 0, 1.0, 0]]])
    camera = make_camera(pose, 8, 8, 4.0, distortion=(-0.5, 0.0, 0.0, 0.0))
    seen = seen_cells(*camera, BOX, 1, 32)[0]
    x, _, z = centers(32).unbind(-1)
    outside = (x / -z > 1.3) & (z < -0.3)
    assert not bool(seen[outside].any())
    assert bool(seen[16, 16, :10].all())
