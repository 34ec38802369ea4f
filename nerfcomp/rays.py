"""Cameras and the rays that leave them.

Notation of this file:

- ``C`` views, ``N`` rays, ``H x W`` pixels; world units are those of the scene.
- The world is right handed. Cameras follow OpenGL: x right, y up, looking along -z. ``c2w`` = ``[R | t]`` maps camera
  coordinates to the world.
- Pixel ``(x, y)`` counts columns from the left and rows from the top; the integer pixel ``(0, 0)`` is the *centre* of
  the top left pixel, which lies at (0.5, 0.5) on the continuous image plane that the intrinsics refer to.
- Directions have unit length, so that distances along a ray are Euclidean.
"""

from typing import NamedTuple

import torch
from torch import Tensor

_UNDISTORT_STEPS = 10  # fixed-point steps: residual below a hundredth of a pixel for the lenses that readers accept
_PARALLEL = 1e-6  # a ray whose -z component is smaller never reaches the near plane of the NDC frustum


class Rays(NamedTuple):
    """Half lines to march.

    Attributes:
        origins: (N, 3) start points in the space that is marched (world, or NDC for forward-facing scenes).
        directions: (N, 3) unit length, same space.
        near: (N, 1) distance along ``directions`` where the march begins.
        far: (N, 1) distance along ``directions`` where the march ends; ``far <= near`` marks a ray that sees nothing.
        viewdirs: (N, 3) unit length, always in the world frame; equals ``directions`` outside NDC.
    """

    origins: Tensor
    directions: Tensor
    near: Tensor
    far: Tensor
    viewdirs: Tensor


class RayBatch(NamedTuple):
    """What a datamodule hands to a module.

    Attributes:
        rays: N rays.
        rgb: (N, 3) float32 in [0, 1], the true colours already laid over ``background``.
        background: (N, 3) float32 in [0, 1].
        height: Rows of the image when the rays are one whole image in row-major order, else 0.
        width: Columns of that image, else 0.
        name: File name of that image, else empty.
    """

    rays: Rays
    rgb: Tensor
    background: Tensor
    height: int = 0
    width: int = 0
    name: str = ""


class Camera(NamedTuple):
    """One camera model, C views of the same size.

    Attributes:
        c2w: (C, 3, 4) float32, camera to world.
        intrinsics: (C, 4) float32: fx, fy, cx, cy in pixels.
        distortion: (C, 4) float32: OpenCV's k1, k2, p1, p2; zeros for a pinhole.
        height: Rows of every view.
        width: Columns of every view.
    """

    c2w: Tensor
    intrinsics: Tensor
    distortion: Tensor
    height: int
    width: int


class PixelPositions(NamedTuple):
    """World points seen by a camera.

    Attributes:
        x: (N,) pixel columns, 0 at the centre of the first column.
        y: (N,) pixel rows, 0 at the centre of the first row.
        depth: (N,) distance along the optical axis in world units; not positive behind the camera, where x and y mean
            nothing.
    """

    x: Tensor
    y: Tensor
    depth: Tensor


def make_camera(
    c2w: Tensor,
    height: int,
    width: int,
    focal: float | tuple[float, float],
    center: tuple[float, float] | None = None,
    distortion: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0),
) -> Camera:
    """Build a camera whose views share their intrinsics.

    Args:
        c2w: (C, 3, 4) or (3, 4) camera to world.
        height: Rows.
        width: Columns.
        focal: Focal length in pixels, or the pair (fx, fy).
        center: Principal point (cx, cy) in pixels; the middle of the image when absent.
        distortion: OpenCV's k1, k2, p1, p2.

    Returns:
        A camera with C views.
    """
    poses = c2w.reshape(-1, 3, 4).float()
    fx, fy = focal if isinstance(focal, tuple) else (focal, focal)
    cx, cy = center if center is not None else (width / 2, height / 2)
    intrinsics = poses.new_tensor([fx, fy, cx, cy]).expand(len(poses), 4).contiguous()
    lens = poses.new_tensor(distortion).expand(len(poses), 4).contiguous()
    return Camera(poses, intrinsics, lens, height, width)


def scaled(camera: Camera, factor: float) -> Camera:
    """Return the same views at another resolution.

    Height and width are rounded to whole pixels and each axis is scaled by its exact ratio, so the field of view stays.

    Args:
        camera: Any camera.
        factor: Above 0; 0.5 halves height and width.

    Returns:
        A camera with at least one pixel per axis.

    Raises:
        ValueError: If ``factor`` is not positive.
    """
    if not factor > 0:
        raise ValueError(f"cannot scale a camera by {factor}: the factor must be above 0")
    height, width = max(1, round(camera.height * factor)), max(1, round(camera.width * factor))
    x, y = width / camera.width, height / camera.height
    return camera._replace(
        intrinsics=camera.intrinsics * camera.intrinsics.new_tensor([x, y, x, y]), height=height, width=width
    )


def distort(x: Tensor, y: Tensor, distortion: Tensor) -> tuple[Tensor, Tensor]:
    """Apply OpenCV's radial and tangential lens model.

    Args:
        x: (N,) position on the plane at unit distance, to the right.
        y: (N,) position on that plane, downwards.
        distortion: (N, 4) or (1, 4): k1, k2, p1, p2.

    Returns:
        Distorted x and y, (N,) each.
    """
    k1, k2, p1, p2 = distortion.unbind(-1)
    r2 = x * x + y * y
    radial = 1 + r2 * (k1 + k2 * r2)
    xy2 = 2 * x * y
    return x * radial + p1 * xy2 + p2 * (r2 + 2 * x * x), y * radial + p1 * (r2 + 2 * y * y) + p2 * xy2


def undistort(x: Tensor, y: Tensor, distortion: Tensor) -> tuple[Tensor, Tensor]:
    """Invert :func:`distort` by fixed-point iteration.

    Args:
        x: (N,) distorted position on the plane at unit distance, to the right.
        y: (N,) distorted position on that plane, downwards.
        distortion: (N, 4) or (1, 4): k1, k2, p1, p2.

    Returns:
        Undistorted x and y, (N,) each. Meaningful only where the lens model is invertible.
    """
    from kornia.geometry.calibration import undistort_points  # seconds to import, and most scenes need no lens model

    points = torch.stack([x, y], -1)
    eye = torch.eye(3, dtype=x.dtype, device=x.device)
    if len(distortion) == 1:
        plane = undistort_points(points[None], eye[None], distortion, num_iters=_UNDISTORT_STEPS)[0]
    else:
        eyes = eye.expand(len(points), 3, 3)
        plane = undistort_points(points[:, None], eyes, distortion, num_iters=_UNDISTORT_STEPS)[:, 0]
    return plane[:, 0], plane[:, 1]


def pixel_directions(intrinsics: Tensor, distortion: Tensor, pixel_x: Tensor, pixel_y: Tensor) -> Tensor:
    """Compute the directions in which pixels look, in camera coordinates.

    Args:
        intrinsics: (N, 4) or (1, 4): fx, fy, cx, cy in pixels.
        distortion: (N, 4) or (1, 4): k1, k2, p1, p2.
        pixel_x: (N,) columns, whole or fractional.
        pixel_y: (N,) rows, whole or fractional.

    Returns:
        (N, 3) directions with z = -1, not normalised.
    """
    fx, fy, cx, cy = intrinsics.unbind(-1)
    x, y = (pixel_x + 0.5 - cx) / fx, (pixel_y + 0.5 - cy) / fy
    if distortion.any():
        x, y = undistort(x, y, distortion)
    return torch.stack([x, -y, -torch.ones_like(x)], -1)


def camera_rays(
    camera: Camera, view_index: Tensor, pixel_x: Tensor, pixel_y: Tensor, near: float, far: float, ndc: bool = False
) -> Rays:
    """Make one ray per (view, pixel).

    Args:
        camera: C views.
        view_index: (N,) integers in [0, C).
        pixel_x: (N,) columns, whole or fractional.
        pixel_y: (N,) rows, whole or fractional.
        near: Where the march begins: world units, or with ``ndc`` the fraction of the way to infinity (0 at z = -1).
        far: Where the march ends: world units, or with ``ndc`` that fraction (1 at infinity).
        ndc: Map origins and directions to normalised device coordinates, see :func:`ndc_rays`. The frustum is that of
            view 0, as all views of one scene must share one mapping.

    Returns:
        N rays, float32.
    """
    c2w, intrinsics, distortion = camera.c2w[view_index], camera.intrinsics, camera.distortion
    intrinsics, distortion = intrinsics[view_index], distortion[view_index] if distortion.any() else distortion[:1]
    local = pixel_directions(intrinsics, distortion, pixel_x, pixel_y)
    directions = (c2w[:, :, :3] * local[:, None, :]).sum(-1)
    directions = torch.nn.functional.normalize(directions, dim=-1)
    return _bounded(camera, c2w[:, :, 3], directions, near, far, ndc)


def image_rays(camera: Camera, view: int, near: float, far: float, ndc: bool = False) -> Rays:
    """Make the rays of one whole view.

    Args:
        camera: C views.
        view: Index in [0, C).
        near: As for :func:`camera_rays`.
        far: As for :func:`camera_rays`.
        ndc: As for :func:`camera_rays`.

    Returns:
        H * W rays in row-major order.
    """
    device = camera.c2w.device
    rows = torch.arange(camera.height, device=device, dtype=torch.float32).repeat_interleave(camera.width)
    columns = torch.arange(camera.width, device=device, dtype=torch.float32).repeat(camera.height)
    local = pixel_directions(camera.intrinsics[view, None], camera.distortion[view, None], columns, rows)
    directions = torch.nn.functional.normalize(local @ camera.c2w[view, :, :3].T, dim=-1)
    origins = camera.c2w[view, :, 3].expand_as(directions)
    return _bounded(camera, origins, directions, near, far, ndc)


def ndc_rays(
    origins: Tensor, directions: Tensor, near: float, far: float, half_width: float, half_height: float
) -> Rays:
    """Map world rays to the normalised device coordinates of a camera at the origin that looks along -z.

    The frustum beyond the plane z = -1 becomes the cube [-1, 1]^3: z = -1 maps to -1, infinity to 1. Mildenhall et al.
    2020, "NeRF", appendix C, equations 25 and 26 with n = 1. There ``t'`` in [0, 1] spans the whole ray; here
    directions are normalised and near and far multiplied by the length of the segment, so that t stays Euclidean in NDC.

    Args:
        origins: (N, 3) world.
        directions: (N, 3) world, unit length.
        near: Fraction of the segment where the march begins, 0 for z = -1.
        far: Fraction of the segment where the march ends, 1 for infinity.
        half_width: Half the width of the image plane at unit distance: W / (2 fx).
        half_height: Half its height: H / (2 fy).

    Returns:
        N rays in NDC. A ray that does not look along -z never enters the frustum: it keeps its direction and gets
        ``near = far = 0``.
    """
    forward = directions[:, 2:] < -_PARALLEL
    x, y, z = torch.where(forward, directions, directions.new_tensor([0.0, 0.0, -1.0])).unbind(-1)
    on_plane = origins - ((1 + origins[:, 2]) / z)[:, None] * torch.stack([x, y, z], -1)
    start_x, start_y = on_plane[:, 0], on_plane[:, 1]  # divided by -z, which is 1 on the plane
    start = torch.stack([start_x / half_width, start_y / half_height, -torch.ones_like(z)], -1)
    span_x, span_y = -(x / z + start_x) / half_width, -(y / z + start_y) / half_height
    span = torch.stack([span_x, span_y, torch.full_like(z, 2.0)], -1)
    length = span.norm(dim=-1, keepdim=True)
    unit = torch.where(forward, span / length, directions)
    length = torch.where(forward, length, torch.zeros_like(length))
    return Rays(start, unit, near * length, far * length, directions)


def project(camera: Camera, view_index: Tensor, points: Tensor) -> PixelPositions:
    """Find where cameras see world points; the inverse of :func:`camera_rays`.

    Args:
        camera: C views.
        view_index: (N,) integers in [0, C).
        points: (N, 3) world.

    Returns:
        Pixel positions and depths, (N,) each.
    """
    c2w = camera.c2w[view_index]
    x, y, z = ((points - c2w[:, :, 3])[:, :, None] * c2w[:, :, :3]).sum(1).unbind(-1)
    x, y = distort(-x / z, y / z, camera.distortion[view_index])
    fx, fy, cx, cy = camera.intrinsics[view_index].unbind(-1)
    return PixelPositions(x * fx + cx - 0.5, y * fy + cy - 0.5, -z)


def _bounded(camera: Camera, origins: Tensor, directions: Tensor, near: float, far: float, ndc: bool) -> Rays:
    """Attach bounds, through NDC when asked."""
    if ndc:
        fx, fy = camera.intrinsics[0, :2].tolist()
        return ndc_rays(origins, directions, near, far, camera.width / (2 * fx), camera.height / (2 * fy))
    bound = directions.new_ones(len(directions), 1)
    return Rays(origins, directions, near * bound, far * bound, directions)
