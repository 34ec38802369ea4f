"""Taking projection matrices apart: where a camera stands, how it is turned, what its lens does."""

from typing import NamedTuple

import numpy as np
import torch
from scipy.linalg import rq
from torch import Tensor

from nerfcomp.errors import SceneError

_MOST_SKEW = 0.1  # pixels that rows may be shifted at the border of an image, where our cameras know no skew
_SINGULAR = 1e-9  # determinant of the three axes, each of unit length, below which they lie in a plane


class View(NamedTuple):
    """One camera.

    Attributes:
        c2w: (3, 4) float64 camera to world, OpenGL axes: x right, y up, z backwards.
        intrinsics: (4,) float64: fx, fy, cx, cy in the pixel coordinates of the matrix.
    """

    c2w: Tensor
    intrinsics: Tensor


def decompose_projection(matrix: Tensor, height: int, where: str) -> View:
    """Take a projection matrix apart (Hartley and Zisserman, "Multiple View Geometry", 2003, section 6.2.4).

    Focal lengths may differ between the axes.

    Args:
        matrix: (3, 4) float64, world to homogeneous pixels, of any scale and sign; x to the right, y down.
        height: Rows of the images, for judging the skew.
        where: What to call the matrix in messages.

    Returns:
        Pose and intrinsics.

    Raises:
        SceneError: The matrix cannot be inverted, is mirrored, or its pixels are skewed visibly.

    Example:
        >>> matrix = torch.tensor([[100.0, 0, 20, 40], [0, 100, 10, 20], [0, 0, 1, 2]], dtype=torch.float64)
        >>> view = decompose_projection(matrix, 20, "here")
        >>> view.intrinsics.tolist(), (view.c2w[:, 3] + 0.0).tolist()
        ([100.0, 100.0, 20.0, 10.0], [0.0, 0.0, -2.0])
    """
    left = matrix[:, :3].numpy()
    lengths = np.linalg.norm(left, axis=1)
    if not np.isfinite(left).all() or lengths.min() == 0 or abs(np.linalg.det(left / lengths[:, None])) < _SINGULAR:
        raise SceneError(f"{where} cannot be inverted: it shows no camera. Restore the matrix.")
    left = left * np.sign(np.linalg.det(left))
    upper, rotation = rq(left)
    signs = np.sign(np.diag(upper))
    upper, rotation = upper * signs, signs[:, None] * rotation
    upper = upper / upper[2, 2]
    if abs(upper[0, 1]) * height / upper[1, 1] > _MOST_SKEW:
        raise SceneError(
            f"{where} skews pixels by {upper[0, 1] / upper[1, 1]:.2g} of their height; only rectangular pixels are "
            "read. Undistort the images to a camera without skew."
        )
    center = -torch.linalg.solve(matrix[:, :3], matrix[:, 3])
    axes = torch.from_numpy(rotation.T * np.array([1.0, -1.0, -1.0]))
    intrinsics = torch.from_numpy(np.array([upper[0, 0], upper[1, 1], upper[0, 2], upper[1, 2]]))
    return View(torch.cat([axes, center[:, None]], 1), intrinsics)
