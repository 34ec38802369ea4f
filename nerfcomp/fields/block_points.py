"""Points along the rays through blocks of pixels: what a light field sees of a camera.

Notation: ``B`` views of ``H x W`` pixels, blocks of ``f x f`` pixels, ``h = ceil(H / f)`` rows and ``w = ceil(W / f)``
columns of blocks; ``K`` points per ray. Where blocks do not divide an image, the last ones reach beyond it.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from nerfcomp.geometry.cameras import Camera, pixel_directions
from nerfcomp.geometry.rays import ndc_rays
from nerfcomp.kernels.march import intersect_box


class Bounds(NamedTuple):
    """Between which distances points lie.

    Attributes:
        near: As ``nerfcomp.geometry.rays.camera_rays`` takes it.
        far: Likewise.
        frustum: Half width and half height of the image plane at unit distance, for scenes in normalised device
            coordinates; None in world space.
    """

    near: float
    far: float
    frustum: tuple[float, float] | None = None


def block_directions(camera: Camera, factor: int) -> Tensor:
    """Directions in which the middles of all blocks look, in camera coordinates.

    Args:
        camera: B views.
        factor: f.

    Returns:
        (B, h w, 3), z = -1, row-major; (1, h w, 3) where all views share their intrinsics.

    Example:
        >>> from nerfcomp.geometry.cameras import make_camera
        >>> block_directions(make_camera(torch.eye(3, 4), height=2, width=4, focal=2.0), 2).tolist()
        [[[-0.5, -0.0, -1.0], [0.5, -0.0, -1.0]]]
    """
    inner = [part[:1] if _alike(part) else part for part in (camera.intrinsics, camera.distortion)]
    views = max(len(part) for part in inner)
    y, x = (
        torch.arange(-(-size // factor), device=camera.c2w.device) * factor + (factor - 1) / 2
        for size in (camera.height, camera.width)
    )
    grid_y, grid_x = torch.meshgrid(y, x, indexing="ij")
    pixels = [part.reshape(1, -1).expand(views, -1).reshape(-1) for part in (grid_x, grid_y)]
    lens = [part.expand(views, 4).repeat_interleave(len(y) * len(x), 0) for part in inner]
    distorted = None if lens[1].device.type == "cpu" else True
    return pixel_directions(lens[0], lens[1], pixels[0], pixels[1], distorted).view(views, -1, 3)


def _alike(rows: Tensor) -> bool:
    """Whether all rows are known to be the same; a GPU is not asked, as that means waiting for it."""
    return rows.device.type == "cpu" and bool((rows == rows[:1]).all())


def points_along(
    c2w: Tensor, directions: Tensor, fractions: Tensor, bounds: Bounds, aabb: Tensor | None = None
) -> Tensor:
    """Points at fixed fractions of the way from near to far.

    Args:
        c2w: (B, 3, 4) camera to world.
        directions: (B, P, 3) or (1, P, 3) in camera coordinates, any length.
        fractions: (K,) in [0, 1].
        bounds: Near, far and frustum.
        aabb: (2, 3) box; rays then begin where they enter it and end where they leave it. All points of a ray that
            misses it are its origin.

    Returns:
        (B, P, 3 K): x, y, z of the first point, of the second, ...

    Example:
        >>> ahead, halves = torch.tensor([[[0.0, 0.0, -1.0]]]), torch.tensor([0.0, 0.5, 1.0])
        >>> points_along(torch.eye(3, 4)[None], ahead, halves, Bounds(2.0, 6.0))[0, 0, 2::3].tolist()
        [-2.0, -4.0, -6.0]
        >>> box = torch.tensor([[-1.0, -1.0, -5.0], [1.0, 1.0, -3.0]])
        >>> points_along(torch.eye(3, 4)[None], ahead, halves, Bounds(2.0, 6.0), box)[0, 0, 2::3].tolist()
        [-3.0, -4.0, -5.0]
    """
    world = normalize(directions @ c2w[:, :, :3].mT, dim=-1)
    origins = c2w[:, None, :, 3].expand_as(world)
    near, far = torch.tensor(bounds.near), torch.tensor(bounds.far)
    if bounds.frustum is not None:
        flat = ndc_rays(origins.reshape(-1, 3), world.reshape(-1, 3), bounds.near, bounds.far, *bounds.frustum)
        origins, world = flat.origins.view_as(world), flat.directions.view_as(world)
        near, far = flat.near.view(*world.shape[:2], 1, 1), flat.far.view(*world.shape[:2], 1, 1)
    if aabb is not None:
        begin, end = (side.to(world.device).expand(*world.shape[:2], 1, 1).reshape(-1) for side in (near, far))
        clipped = intersect_box(origins.reshape(-1, 3), world.reshape(-1, 3), begin, end, aabb)
        near, far = (side.view(*world.shape[:2], 1, 1) for side in clipped)
    t = near + (far - near) * fractions.view(1, 1, -1, 1)
    return (origins[:, :, None] + world[:, :, None] * t).flatten(2)


def block_points(
    camera: Camera,
    factor: int,
    points_per_ray: int,
    bounds: Bounds,
    jitter: Tensor | None = None,
    aabb: Tensor | None = None,
) -> Tensor:
    """Points that a light field of ``factor`` and ``points_per_ray`` needs to draw B views.

    Args:
        camera: B views.
        factor: f.
        points_per_ray: K; the interval from near to far is divided into as many equal parts.
        bounds: Near, far and frustum.
        jitter: (K,) in [0, 1], place of each point in its part; the middle when absent.
        aabb: As `points_along` takes it.

    Returns:
        (B, h, w, 3 K).
    """
    device = camera.c2w.device
    middle = torch.full((points_per_ray,), 0.5, device=device) if jitter is None else jitter
    fractions = ((torch.arange(points_per_ray, device=device) + middle) / points_per_ray).to(camera.c2w.dtype)
    points = points_along(camera.c2w, block_directions(camera, factor), fractions, bounds, aabb)
    rows = -(-camera.height // factor)
    return points.view(len(points), rows, -1, 3 * points_per_ray)
