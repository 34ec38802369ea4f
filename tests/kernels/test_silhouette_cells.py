"""The visual hull against brute force, and its promise never to carve what a picture shows."""

import torch

from nerfcomp.geometry.cameras import Camera, make_camera, project
from nerfcomp.geometry.paths import spherical_path
from nerfcomp.kernels.silhouette_cells import silhouette_cells

BOX = torch.tensor([[-1.0] * 3, [1.0] * 3])


def ball_views(radius: float, size: int = 64) -> tuple[Camera, torch.Tensor]:
    """Cameras around a ball at the origin, and its exact silhouettes."""
    camera = make_camera(spherical_path(6, 4.0), size, size, focal=float(size))
    rows, columns = torch.meshgrid(torch.arange(size) + 0.5, torch.arange(size) + 0.5, indexing="ij")
    u, v = (columns - size / 2) / size, (rows - size / 2) / size
    sine = torch.sqrt((u**2 + v**2) / (1 + u**2 + v**2))
    return camera, ((sine <= radius / 4.0) * 255).byte().expand(6, size, size).contiguous()


def carve(camera: Camera, alpha: torch.Tensor, resolution: int = 32, cascades: int = 1) -> torch.Tensor:
    return silhouette_cells(camera.c2w, camera.intrinsics, camera.distortion, alpha, BOX, cascades, resolution)


def centers(resolution: int) -> torch.Tensor:
    axis = (torch.arange(resolution) + 0.5) / resolution * 2 - 1
    return torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1)


def test_the_object_is_never_carved() -> None:
    camera, alpha = ball_views(0.4)
    allowed = carve(camera, alpha)[0]
    assert allowed[centers(32).norm(dim=-1) < 0.42].all()


def test_most_of_the_empty_space_is() -> None:
    camera, alpha = ball_views(0.4)
    allowed = carve(camera, alpha)[0]
    assert allowed.float().mean() < 0.2
    assert not allowed[0, 0, 0] and not allowed[31, 31, 31]


def test_cells_follow_their_projections() -> None:
    camera, alpha = ball_views(0.3)
    allowed = carve(camera, alpha)[0]
    points = centers(32).reshape(-1, 3)
    for view in range(6):
        pixel = project(camera, torch.full((len(points),), view), points)
        column, row = pixel.x.round().long().clamp(0, 63), pixel.y.round().long().clamp(0, 63)
        assert (alpha[view, row[allowed.flatten()], column[allowed.flatten()]] > 0).float().mean() > 0.4


def test_views_that_do_not_contain_a_cell_say_nothing() -> None:
    camera, alpha = ball_views(0.3)
    narrow = camera._replace(intrinsics=camera.intrinsics * torch.tensor([40.0, 40.0, 1.0, 1.0]))
    assert carve(narrow, torch.zeros_like(alpha)).float().mean() > 0.5


def test_opaque_pictures_carve_nothing() -> None:
    camera, alpha = ball_views(0.3)
    assert carve(camera, torch.full_like(alpha, 255)).all()


def test_cascades_agree_where_they_overlap() -> None:
    camera, alpha = ball_views(0.4)
    outer, inner = carve(camera, alpha, 32, 2)[1], carve(camera, alpha, 32, 2)[0]
    pooled = torch.nn.functional.max_pool3d(inner.float()[None], 2)[0].bool()
    assert (outer[8:24, 8:24, 8:24] | ~pooled).all()


def test_an_odd_resolution_works() -> None:
    camera, alpha = ball_views(0.4)
    assert carve(camera, alpha, 18)[0][8:10, 8:10, 8:10].all()
