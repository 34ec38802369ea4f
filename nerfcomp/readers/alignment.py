"""Put captured poses into a frame that suits marching: upright, centred, of known scale.

Poses here are (V, 3, 4) float64 camera to world, OpenGL convention.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from nerfcomp.errors import SceneError
from nerfcomp.geometry.paths import look_at

REGION = 1.5  # half side of the cube of interest around the origin after alignment
RADIUS = 4.0  # median camera distance after alignment, as in captures that instant-ngp's scripts prepare
_RIGID = 1e-3  # largest deviation from a rotation that rounding in a file may cause
_SPREAD = 0.02  # smallest mean squared sine between viewing directions that fixes a point they look at


class Aligned(NamedTuple):
    """Poses in the new frame.

    Attributes:
        c2w: (V, 3, 4) float64.
        scale: New length of an old unit.
        inward: The cameras look at a common point, which is the new origin.
    """

    c2w: Tensor
    scale: float
    inward: bool


def check_pose(matrix: Tensor, where: str) -> Tensor:
    """Accept a camera pose if it is rigid up to rounding, and remove the rounding.

    Args:
        matrix: (3, 4) or (4, 4) float64 camera to world.
        where: What to call the pose in messages: file and frame.

    Returns:
        (3, 4) whose rotation is orthonormal.

    Raises:
        SceneError: If the pose has another shape, is not finite, is mirrored, scaled or sheared.
    """
    if matrix.shape not in ((3, 4), (4, 4)):
        raise SceneError(f"{where}: the pose has shape {tuple(matrix.shape)}; it must be 4x4 or 3x4. Export it again.")
    if not matrix.isfinite().all():
        raise SceneError(f"{where}: the pose contains NaN or infinity. Export it again or take the frame out.")
    rotation, bottom = matrix[:3, :3], matrix.new_tensor([0.0, 0.0, 0.0, 1.0])
    error = float((rotation.T @ rotation - torch.eye(3).to(matrix)).abs().max())
    if error > _RIGID:
        raise SceneError(
            f"{where}: the pose is not rigid: its axes deviate by {error:.3g} from unit length and right angles, "
            f"{_RIGID} is allowed. Remove scale and shear from the camera before exporting."
        )
    if torch.linalg.det(rotation) < 0:
        raise SceneError(f"{where}: the pose is mirrored (left handed). Export it in a right-handed frame.")
    if len(matrix) == 4 and (matrix[3] - bottom).abs().max() > _RIGID:
        raise SceneError(f"{where}: the last row of the pose is {matrix[3].tolist()}; it must be 0 0 0 1.")
    u, _, vh = torch.linalg.svd(rotation)
    return torch.cat([u @ vh, matrix[:3, 3:]], -1)


def average_pose(c2w: Tensor) -> Tensor:
    """Find the pose in the middle of others: mean position, mean viewing direction, mean up.

    Args:
        c2w: (V, 3, 4).

    Returns:
        (3, 4).
    """
    center, back, up = c2w[:, :, 3].mean(0), c2w[:, :, 2].mean(0), c2w[:, :, 1].mean(0)
    return look_at(center, center - back, up)


def relative_to(c2w: Tensor, pose: Tensor) -> Tensor:
    """Express poses in the frame of another one.

    Args:
        c2w: (V, 3, 4).
        pose: (3, 4), becomes the identity.

    Returns:
        (V, 3, 4).
    """
    rotation = pose[:, :3].T
    return torch.cat([rotation @ c2w[:, :, :3], rotation @ (c2w[:, :, 3:] - pose[:, 3:])], -1)


def focus_point(c2w: Tensor) -> Tensor | None:
    """Find the point nearest to all optical axes, in the sense of least squares.

    Args:
        c2w: (V, 3, 4).

    Returns:
        (3,), or None when the axes are too parallel to fix it or when less than three quarters of the cameras see it in
        front of them.
    """
    origins, forward = c2w[:, :, 3], -c2w[:, :, 2]
    across = torch.eye(3).to(c2w) - forward[:, :, None] * forward[:, None, :]
    mean = across.mean(0)
    if torch.linalg.eigvalsh(mean)[0] < _SPREAD:
        return None
    point = torch.linalg.solve(mean, (across @ origins[:, :, None]).mean(0))[:, 0]
    in_front = ((point - origins) * forward).sum(-1) > 0
    return point if in_front.double().mean() >= 0.75 else None


def align_upright(c2w: Tensor, where: str) -> Aligned:
    """Turn the mean up direction of the cameras to +z, centre and scale.

    Around an object the origin is the point that the cameras look at and their median distance becomes 4.
    Otherwise (walks, forward-facing captures) it is the mean of the cameras, the farthest of which gets a distance of
    1.5, the half side of the finest cube.

    Args:
        c2w: (V, 3, 4).
        where: What to call the scene in messages.

    Returns:
        The poses in the new frame.

    Raises:
        SceneError: If all cameras stand at one point, so that there is no scale.
    """
    point = focus_point(c2w)
    center = c2w[:, :, 3].mean(0) if point is None else point
    up, forward = c2w[:, :, 1].mean(0), -c2w[:, :, 2].mean(0)
    up = up if up.norm() > 1e-3 else up.new_tensor([0.0, 0.0, 1.0])
    poses = relative_to(c2w, look_at(center, center - up, forward))  # a frame that looks down has its z axis upwards
    distance = poses[:, :, 3].norm(dim=-1)
    size = float(distance.max()) * RADIUS / REGION if point is None else float(distance.median())
    if not size > 1e-9:
        raise SceneError(f"{where}: all cameras stand at one point, which gives the scene no scale.")
    scale = RADIUS / size
    return Aligned(torch.cat([poses[:, :, :3], poses[:, :, 3:] * scale], -1), scale, point is not None)
