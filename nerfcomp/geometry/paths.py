"""Poses of cameras: looking at a point, and paths for videos. Conventions as in `nerfcomp.geometry.cameras`."""

import math

import torch
from torch import Tensor


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
