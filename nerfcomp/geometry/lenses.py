"""Lens distortion, OpenCV's radial and tangential model (Brown 1966), and its inverse.

``x`` points right and ``y`` down on the plane at unit distance from the camera; ``r2`` is the squared distance from the
optical axis on that plane.
"""

import torch
from torch import Tensor

_FIXED_POINT_STEPS = 5
_NEWTON_STEPS = 2  # each doubles the digits that the fixed-point steps have found


def distort(x: Tensor, y: Tensor, distortion: Tensor) -> tuple[Tensor, Tensor]:
    """Distort positions as the lens does.

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
    """Invert :func:`distort` by kornia's fixed-point iteration, polished by Newton's.

    Args:
        x: (N,) distorted position on the plane at unit distance, to the right.
        y: (N,) distorted position on that plane, downwards.
        distortion: (N, 4) or (1, 4): k1, k2, p1, p2.

    Returns:
        Undistorted x and y, (N,) each. Meaningful only where the lens model is invertible.
    """
    from kornia.geometry.calibration import undistort_points  # slow to import, and most scenes need no lens model

    points = torch.stack([x, y], -1)
    eye = torch.eye(3, dtype=x.dtype, device=x.device)
    if len(distortion) == 1:
        plane = undistort_points(points[None], eye[None], distortion, num_iters=_FIXED_POINT_STEPS)[0]
    else:
        eyes = eye.expand(len(points), 3, 3)
        plane = undistort_points(points[:, None], eyes, distortion, num_iters=_FIXED_POINT_STEPS)[:, 0]
    guess_x, guess_y = plane.unbind(-1)
    for _ in range(_NEWTON_STEPS):
        guess_x, guess_y = _newton_step(guess_x, guess_y, x, y, distortion)
    return guess_x, guess_y


def _newton_step(guess_x: Tensor, guess_y: Tensor, x: Tensor, y: Tensor, distortion: Tensor) -> tuple[Tensor, Tensor]:
    """Improve an undistorted position by the inverse Jacobian of the lens model, which is symmetric."""
    k1, k2, p1, p2 = distortion.unbind(-1)
    r2 = guess_x * guess_x + guess_y * guess_y
    radial, slope = 1 + r2 * (k1 + k2 * r2), 2 * (k1 + 2 * k2 * r2)
    xx = radial + slope * guess_x * guess_x + 2 * p1 * guess_y + 6 * p2 * guess_x
    yy = radial + slope * guess_y * guess_y + 6 * p1 * guess_y + 2 * p2 * guess_x
    xy = slope * guess_x * guess_y + 2 * p1 * guess_x + 2 * p2 * guess_y
    there_x, there_y = distort(guess_x, guess_y, distortion)
    error_x, error_y = x - there_x, y - there_y
    determinant = xx * yy - xy * xy
    return guess_x + (yy * error_x - xy * error_y) / determinant, guess_y + (xx * error_y - xy * error_x) / determinant
