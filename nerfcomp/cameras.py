"""Cameras: where they stand, which pixel looks where, and paths for videos.

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

from nerfcomp.lenses import distort, undistort


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


def camera_on(camera: Camera, device: torch.device) -> Camera:
    """Copy a camera to a device; nothing is copied where it is there already."""
    c2w, intrinsics, distortion = (part.to(device) for part in camera[:3])
    return Camera(c2w, intrinsics, distortion, camera.height, camera.width)


def pixel_directions(intrinsics: Tensor, distortion: Tensor, pixel_x: Tensor, pixel_y: Tensor) -> Tensor:
    """Compute the directions in which pixels look, in camera coordinates.

    Args:
        intrinsics: (N, 4) or (1, 4): fx, fy, cx, cy in pixels.
        distortion: (N, 4) or (1, 4): k1, k2, p1, p2.
        pixel_x: (N,) columns, whole or fractional.
        pixel_y: (N,) rows, whole or fractional.

    Returns:
        (N, 3) directions with z = -1, not normalised.

    Example:
        >>> camera = make_camera(torch.eye(3, 4), height=4, width=6, focal=2.0)
        >>> pixel_directions(camera.intrinsics, camera.distortion, torch.tensor([0.0]), torch.tensor([3.0]))
        tensor([[-1.2500, -0.7500, -1.0000]])
    """
    fx, fy, cx, cy = intrinsics.unbind(-1)
    x, y = (pixel_x + 0.5 - cx) / fx, (pixel_y + 0.5 - cy) / fy
    if distortion.any():
        x, y = undistort(x, y, distortion)
    return torch.stack([x, -y, -torch.ones_like(x)], -1)


def project(camera: Camera, view_index: Tensor, points: Tensor) -> PixelPositions:
    """Find where cameras see world points; the inverse of ``nerfcomp.rays.camera_rays``.

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


def look_at(origin: Tensor, target: Tensor, up: Tensor) -> Tensor:
    """Place cameras that look at a point.

    Args:
        origin: (..., 3) camera centres.
        target: (..., 3) points in the middle of the view; different from ``origin``.
        up: (..., 3) direction that shall point upwards in the image; any length. Where it is parallel to the view, the
            world axis most perpendicular to the view is taken instead.

    Returns:
        (..., 3, 4) camera to world.

    Example:
        >>> look_at(torch.tensor([0.0, -2.0, 0.0]), torch.zeros(3), torch.tensor([0.0, 0.0, 1.0]))
        tensor([[ 1.,  0.,  0.,  0.],
                [ 0.,  0., -1., -2.],
                [-0.,  1.,  0.,  0.]])
    """
    back = torch.nn.functional.normalize(origin - target, dim=-1)
    up = torch.nn.functional.normalize(up, dim=-1).expand_as(back)
    spare = torch.nn.functional.one_hot(back.abs().argmin(-1), 3).to(back)
    parallel = torch.linalg.cross(up, back).norm(dim=-1, keepdim=True) < 1e-5
    right = torch.nn.functional.normalize(torch.linalg.cross(torch.where(parallel, spare, up), back), dim=-1)
    return torch.stack([right, torch.linalg.cross(back, right), back, origin.expand_as(back)], -1)


def spherical_path(
    n_frames: int,
    radius: float,
    elevation: float | tuple[float, float] = math.pi / 6,
    target: tuple[float, float, float] = (0.0, 0.0, 0.0),
    turns: float = 1.0,
) -> Tensor:
    """Circle around a point, z up: a turntable, or a climbing spiral when the elevation changes.

    Args:
        n_frames: Number of poses, at least 1. The last stands one step before the first, so a full turn loops.
        radius: Distance from the target, world units.
        elevation: Radians above the horizontal plane, or its values at the first and the last frame.
        target: Point that every camera looks at.
        turns: How often the path goes around, counter-clockwise seen from above.

    Returns:
        (n_frames, 3, 4) camera to world.

    Raises:
        ValueError: If ``n_frames`` or ``radius`` is not positive.
    """
    if n_frames < 1 or not radius > 0:
        raise ValueError(f"a path needs at least one frame and a radius above 0, not {n_frames} and {radius}")
    first, last = elevation if isinstance(elevation, tuple) else (elevation, elevation)
    theta = torch.arange(n_frames, dtype=torch.float64) * (2 * math.pi * turns / n_frames)
    phi = torch.linspace(first, last, n_frames, dtype=torch.float64)
    around = torch.stack([phi.cos() * theta.cos(), phi.cos() * theta.sin(), phi.sin()], -1)
    center = torch.tensor(target, dtype=torch.float64)
    return look_at(center + radius * around, center, center.new_tensor([0.0, 0.0, 1.0])).float()


def spiral_path(
    pose: Tensor,
    radii: tuple[float, float, float],
    focus: float,
    n_frames: int,
    turns: float = 2.0,
    z_rate: float = 0.5,
) -> Tensor:
    """Swing around one pose while looking at a fixed point in front of it, as LLFF's videos do.

    Args:
        pose: (3, 4) camera to world in the middle of the path.
        radii: How far the camera moves along its own x, y and z axes, world units.
        focus: Distance of the fixed point in front of the pose, world units.
        n_frames: Number of poses, at least 1; the last stands one step before the first.
        turns: Number of circles in x and y.
        z_rate: Oscillations in z per circle.

    Returns:
        (n_frames, 3, 4) camera to world.

    Raises:
        ValueError: If ``n_frames`` is not positive.
    """
    if n_frames < 1:
        raise ValueError(f"a path needs at least one frame, not {n_frames}")
    theta = torch.arange(n_frames, dtype=torch.float64) * (2 * math.pi * turns / n_frames)
    swing = torch.stack([theta.cos(), -theta.sin(), -(z_rate * theta).sin()], -1) * theta.new_tensor(radii)
    rotation, center = pose[:, :3].double(), pose[:, 3].double()
    return look_at(center + swing @ rotation.T, center - focus * rotation[:, 2], rotation[:, 1]).float()
