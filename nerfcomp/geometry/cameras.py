"""Cameras: where they stand and which pixel looks where.

Notation of this file:

- ``C`` views, ``N`` points or pixels, ``H x W`` pixels per view; world units are those of the scene.
- The world is right handed. Cameras follow OpenGL: x right, y up, looking along -z. ``c2w`` = ``[R | t]`` maps camera
  coordinates to the world.
- Pixel ``(x, y)`` counts columns from the left and rows from the top; the integer pixel ``(0, 0)`` is the *centre* of
  the top left pixel, which lies at (0.5, 0.5) on the continuous image plane that the intrinsics refer to.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from nerfcomp.geometry.lenses import distort, undistort


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
    intrinsics = poses.new_tensor([fx, fy, cx, cy]).repeat(len(poses), 1)
    lens = poses.new_tensor(distortion).repeat(len(poses), 1)
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

    Example:
        >>> half = scaled(make_camera(torch.eye(3, 4), height=60, width=81, focal=50.0), 0.5)
        >>> half.height, half.width, [round(value, 3) for value in half.intrinsics[0].tolist()]
        (30, 40, [24.691, 25.0, 20.0, 15.0])
    """
    if not 0 < factor < math.inf:
        raise ValueError(f"cannot scale a camera by {factor}: the factor must be finite and above 0")
    height, width = max(1, round(camera.height * factor)), max(1, round(camera.width * factor))
    x, y = width / camera.width, height / camera.height
    ratios = camera.intrinsics.new_tensor([x, y, x, y])
    return camera._replace(intrinsics=camera.intrinsics * ratios, height=height, width=width)


def resized(camera: Camera, width: int, height: int) -> Camera:
    """Return the same views as pictures of another width and height; the vertical field of view stays.

    Args:
        camera: Any camera.
        width: Columns, at least 1.
        height: Rows, at least 1.

    Raises:
        ValueError: A side is shorter than one pixel.

    Example:
        >>> resized(make_camera(torch.eye(3, 4), height=50, width=80, focal=40.0), 200, 100).intrinsics.tolist()
        [[80.0, 80.0, 100.0, 50.0]]
    """
    if min(width, height) < 1:
        raise ValueError(f"pictures of {width} x {height} pixels; they need at least one pixel each way")
    zoom = height / camera.height
    fx, fy, cx, cy = camera.intrinsics.unbind(1)
    middle = (cx - camera.width / 2) * zoom + width / 2
    intrinsics = torch.stack([fx * zoom, fy * zoom, middle, cy * zoom], 1)
    return camera._replace(intrinsics=intrinsics, height=height, width=width)


def view_spacing(camera: Camera) -> float:
    """Angle between neighbouring views: between a view's optical axis and the nearest other one, the median of all.

    Args:
        camera: C views.

    Returns:
        Radians; 0 for a single view.

    Example:
        >>> axes = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.6, 0.8], [0.6, 0.0, 0.8]])
        >>> c2w = torch.cat([torch.zeros(3, 3, 2), axes[:, :, None], torch.zeros(3, 3, 1)], 2)
        >>> round(view_spacing(make_camera(c2w, height=4, width=4, focal=4.0)), 4)  # arccos(0.8)
        0.6435
    """
    if len(camera.c2w) < 2:
        return 0.0
    axes = torch.nn.functional.normalize(camera.c2w[:, :, 2].double().cpu(), dim=1)
    cosines = (axes @ axes.T).fill_diagonal_(-1.0).amax(1)
    return float(cosines.clamp(-1.0, 1.0).arccos().median())


def camera_on(camera: Camera, device: torch.device) -> Camera:
    """Copy a camera to a device; nothing is copied where it is there already."""
    c2w, intrinsics, distortion = (part.to(device) for part in camera[:3])
    return Camera(c2w, intrinsics, distortion, camera.height, camera.width)


def pixel_directions(
    intrinsics: Tensor, distortion: Tensor, pixel_x: Tensor, pixel_y: Tensor, distorted: bool | None = None
) -> Tensor:
    """Compute the directions in which pixels look, in camera coordinates.

    Args:
        intrinsics: (N, 4) or (1, 4): fx, fy, cx, cy in pixels.
        distortion: (N, 4) or (1, 4): k1, k2, p1, p2.
        pixel_x: (N,) columns, whole or fractional.
        pixel_y: (N,) rows, whole or fractional.
        distorted: Whether any distortion differs from 0, where the caller knows.

    Returns:
        (N, 3) directions with z = -1, not normalised.

    Example:
        >>> camera = make_camera(torch.eye(3, 4), height=4, width=6, focal=2.0)
        >>> pixel_directions(camera.intrinsics, camera.distortion, torch.tensor([0.0]), torch.tensor([3.0]))
        tensor([[-1.2500, -0.7500, -1.0000]])
    """
    fx, fy, cx, cy = intrinsics.unbind(-1)
    x, y = (pixel_x + 0.5 - cx) / fx, (pixel_y + 0.5 - cy) / fy
    if distortion.any() if distorted is None else distorted:
        x, y = undistort(x, y, distortion)
    return torch.stack([x, -y, -torch.ones_like(x)], -1)


def project(camera: Camera, view_index: Tensor, points: Tensor) -> PixelPositions:
    """Find where cameras see world points; the inverse of ``nerfcomp.geometry.rays.camera_rays``.

    Args:
        camera: C views.
        view_index: (N,) integers in [0, C).
        points: (N, 3) world.

    Returns:
        Pixel positions and depths, (N,) each.

    Example:
        >>> camera = make_camera(torch.eye(3, 4), height=4, width=6, focal=2.0)
        >>> project(camera, torch.tensor([0]), torch.tensor([[1.0, 1.0, -2.0]]))
        PixelPositions(x=tensor([3.5000]), y=tensor([0.5000]), depth=tensor([2.]))
    """
    c2w = camera.c2w[view_index]
    x, y, z = ((points - c2w[:, :, 3])[:, :, None] * c2w[:, :, :3]).sum(1).unbind(-1)
    x, y = distort(-x / z, y / z, camera.distortion[view_index])
    fx, fy, cx, cy = camera.intrinsics[view_index].unbind(-1)
    return PixelPositions(x * fx + cx - 0.5, y * fy + cy - 0.5, -z)


def lens_error(camera: Camera) -> Tensor:
    """Measure how well the lens distortion of each view can be undone at the border of the image, where it is worst.

    Args:
        camera: C views.

    Returns:
        (C,) pixels by which undoing and redoing the distortion misses at most; infinite where it fails altogether.
    """
    x, y = torch.linspace(0, camera.width, 17), torch.linspace(0, camera.height, 17)
    border_x = torch.cat([x, x, torch.zeros(17), torch.full((17,), float(camera.width))])
    border_y = torch.cat([torch.zeros(17), torch.full((17,), float(camera.height)), y, y])
    errors = []
    for (fx, fy, cx, cy), lens in zip(camera.intrinsics.tolist(), camera.distortion):
        there = (border_x - cx) / fx, (border_y - cy) / fy
        back = distort(*undistort(*there, lens[None]), lens[None])
        misses = torch.stack([(back[0] - there[0]) * fx, (back[1] - there[1]) * fy])
        errors.append(misses.abs().nan_to_num(math.inf).max())
    return torch.stack(errors)


def select_views(camera: Camera, views: list[int]) -> Camera:
    """Keep some views of a camera, in the order given."""
    return camera._replace(
        c2w=camera.c2w[views], intrinsics=camera.intrinsics[views], distortion=camera.distortion[views]
    )
