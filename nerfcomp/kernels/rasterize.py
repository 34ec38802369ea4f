"""Which triangle of a mesh each pixel shows: a depth buffer on the CPU.

Pixel ``(i, j)`` is sampled at its centre, column ``j``, row ``i``. Depths interpolate as 1 / depth does.
"""

import numpy as np
from numpy.typing import NDArray

from nerfcomp.kernels.numba_setup import Array, Scalar, kernel


@kernel
def _edge(ax: Scalar, ay: Scalar, bx: Scalar, by: Scalar, x: Scalar, y: Scalar) -> Scalar:
    """Twice the signed area of the triangle a, b, (x, y)."""
    return (bx - ax) * (y - ay) - (by - ay) * (x - ax)


@kernel
def _draw(pixels: Array, faces: Array, nearest: Array, shown: Array) -> None:
    """Draw all triangles whose corners lie before the camera; ``nearest`` holds 1 / depth."""
    height, width = shown.shape
    for face in range(len(faces)):
        a, b, c = pixels[faces[face, 0]], pixels[faces[face, 1]], pixels[faces[face, 2]]
        area = _edge(a[0], a[1], b[0], b[1], c[0], c[1])
        if min(a[2], b[2], c[2]) <= 0.0 or area == 0.0:
            continue
        left = max(0, int(np.ceil(min(a[0], b[0], c[0]))))
        right = min(width - 1, int(np.floor(max(a[0], b[0], c[0]))))
        top = max(0, int(np.ceil(min(a[1], b[1], c[1]))))
        bottom = min(height - 1, int(np.floor(max(a[1], b[1], c[1]))))
        for row in range(top, bottom + 1):
            for column in range(left, right + 1):
                u = _edge(b[0], b[1], c[0], c[1], column, row) / area
                v = _edge(c[0], c[1], a[0], a[1], column, row) / area
                w = 1.0 - u - v
                if u >= 0.0 and v >= 0.0 and w >= 0.0:
                    inverse = u / a[2] + v / b[2] + w / c[2]
                    if inverse > nearest[row, column]:
                        nearest[row, column], shown[row, column] = inverse, face


def rasterize(
    pixels: NDArray[np.float64], faces: NDArray[np.int64], height: int, width: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Find the nearest triangle of every pixel.

    Args:
        pixels: (V, 3) column, row (integers are the centres of pixels) and depth of the vertices; triangles with a
            corner of depth 0 or less are not drawn.
        faces: (F, 3).
        height: H.
        width: W.

    Returns:
        (H, W) triangle, -1 where there is none, and (H, W) depth, infinite there.

    >>> corners = np.array([[-0.5, -0.5, 2.0], [2.0, -0.5, 2.0], [-0.5, 2.0, 2.0]])
    >>> shown, depth = rasterize(corners, np.array([[0, 1, 2]]), 2, 2)
    >>> shown.tolist(), depth.tolist()
    ([[0, 0], [0, -1]], [[2.0, 2.0], [2.0, inf]])
    """
    nearest, shown = np.zeros((height, width)), np.full((height, width), -1, np.int64)
    _draw(np.ascontiguousarray(pixels, np.float64), np.ascontiguousarray(faces, np.int64), nearest, shown)
    with np.errstate(divide="ignore"):
        return shown, 1 / nearest
