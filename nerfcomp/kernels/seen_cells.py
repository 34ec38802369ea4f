"""Which cells of a grid a set of cameras sees.

Cells are indexed as in `nerfcomp.kernels.march`, cameras are those of `nerfcomp.geometry.cameras`: OpenGL axes, pixels
whose first column spans 0 to 1, OpenCV distortion. A cell counts as seen when the ball around it shows up in an image.
"""

import math

import numpy as np
import torch
from numba import prange
from torch import Tensor

from nerfcomp.kernels.numba_setup import Array, Scalar, as_array, inlined_kernel, kernel, parallel_kernel, worker_count


@inlined_kernel
def project(views: Array, view: Scalar, x: Scalar, y: Scalar, z: Scalar) -> tuple[Scalar, Scalar, Scalar, Scalar]:
    """Column and row on the image plane, depth, and squared tangent of the angle to the axis; depth must be above 0."""
    px = views[view, 0] * x + views[view, 1] * y + views[view, 2] * z + views[view, 3]
    py = views[view, 4] * x + views[view, 5] * y + views[view, 6] * z + views[view, 7]
    depth = views[view, 8] * x + views[view, 9] * y + views[view, 10] * z + views[view, 11]
    u, v = px / depth, py / depth
    square = u * u + v * v
    bend = 1.0 + square * (views[view, 16] + square * views[view, 17])
    p1, p2 = views[view, 18], views[view, 19]
    column = u * bend + 2.0 * p1 * u * v + p2 * (square + 2.0 * u * u)
    row = v * bend + p1 * (square + 2.0 * v * v) + 2.0 * p2 * u * v
    return views[view, 12] * column + views[view, 14], views[view, 13] * row + views[view, 15], depth, square


@inlined_kernel
def _sees(
    views: Array, view: Scalar, width: Scalar, height: Scalar, x: Scalar, y: Scalar, z: Scalar, radius: Scalar
) -> Scalar:
    """Whether a ball shows up in a view; a row of ``views`` is laid out as `view_table` says."""
    dx, dy, dz = views[view, 21] - x, views[view, 22] - y, views[view, 23] - z
    found = dx * dx + dy * dy + dz * dz <= 4.0 * radius * radius
    column, row, depth, square = project(views, view, x, y, z)
    if depth > radius:
        margin = 1.5 * radius / depth
        wide, high = margin * views[view, 12], margin * views[view, 13]
        inside = -wide <= column and column <= width + wide and -high <= row and row <= height + high
        found = inside and square <= views[view, 20]
    return found


@kernel
def _mark_slab(
    views: Array, width: Scalar, height: Scalar, low: Array, cell: Array, near: Scalar, slab: Scalar, seen: Array
) -> None:
    """Decide about all cells with one x index; the view that saw the last cell is tried first."""
    x, last = low[0] + (slab + 0.5) * cell[0], 0
    radius = 0.5 * math.sqrt(cell[0] * cell[0] + cell[1] * cell[1] + cell[2] * cell[2])
    for j in range(seen.shape[1]):
        for k in range(seen.shape[2]):
            y, z = low[1] + (j + 0.5) * cell[1], low[2] + (k + 0.5) * cell[2]
            found, view = False, last
            for _ in range(len(views)):
                if _sees(views, view, width, height, x, y, z, radius):
                    found, last = True, view
                    break
                view = view + 1 if view + 1 < len(views) else 0
            if found and near > 0.0:
                for other in range(len(views)):
                    dx, dy, dz = views[other, 21] - x, views[other, 22] - y, views[other, 23] - z
                    if dx * dx + dy * dy + dz * dz < near * near:
                        found = False
            seen[slab, j, k] = found


@parallel_kernel
def _mark_cube(
    views: Array, width: Scalar, height: Scalar, low: Array, cell: Array, near: Scalar, workers: Scalar, seen: Array
) -> None:
    """Decide about all cells of one cascade."""
    for worker in prange(workers):
        for slab in range(worker, len(seen), workers):
            _mark_slab(views, width, height, low, cell, near, slab, seen)


def view_table(c2w: Tensor, intrinsics: Tensor, distortion: Tensor) -> Array:
    """Gather each view in 24 numbers.

    0-11 world to camera with y down and z forward, 12-15 fx fy cx cy, 16-19 k1 k2 p1 p2, 20 the squared tangent of the
    angle up to which the distortion is one to one, 21-23 the centre.
    """
    axes = c2w[:, :, :3].double() * torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64)
    rotation, center = axes.transpose(1, 2), c2w[:, :, 3].double()
    shift = -rotation @ center.unsqueeze(2)
    k1, k2 = distortion[:, 0].double(), distortion[:, 1].double()
    limits = torch.tensor([_fold(float(a), float(b)) for a, b in zip(k1, k2)], dtype=torch.float64)
    pose = torch.cat([rotation, shift], 2).flatten(1)
    table = torch.cat([pose, intrinsics.double(), distortion.double(), limits.unsqueeze(1), center], 1)
    return as_array(table)


def _fold(k1: float, k2: float) -> float:
    """Smallest ``r^2`` at which the distorted radius ``r (1 + k1 r^2 + k2 r^4)`` stops growing."""
    roots = np.roots([5 * k2, 3 * k1, 1.0])
    return min((float(root.real) for root in roots if abs(root.imag) < 1e-9 and root.real > 0), default=math.inf)


def seen_cells(
    c2w: Tensor,
    intrinsics: Tensor,
    distortion: Tensor,
    height: int,
    width: int,
    aabb: Tensor,
    cascades: int,
    resolution: int,
    near: float = 0.0,
) -> Tensor:
    """Find the cells that at least one view sees and that are not too close to any.

    Args:
        c2w: (V, 3, 4) camera to world of V views.
        intrinsics: (V, 4) fx, fy, cx, cy in pixels.
        distortion: (V, 4) k1, k2, p1, p2.
        height: Rows of every view.
        width: Columns of every view.
        aabb: (2, 3) box of the coarsest cascade.
        cascades: Number of nested cubes, C.
        resolution: Cells along an axis, R.
        near: A cell whose centre is closer than this to a camera does not count.

    Returns:
        (C, R, R, R) bool on the CPU.

    >>> pose = torch.tensor([[[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]])  # at the origin, looking along -z
    >>> camera = (pose, torch.tensor([[1.0, 1.0, 0.5, 0.5]]), torch.zeros(1, 4), 1, 1)
    >>> seen_cells(*camera, torch.tensor([[-8.0] * 3, [8.0] * 3]), 1, 16)[0, 8, 8].int().tolist()
    [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0]
    """
    views = view_table(c2w.cpu(), intrinsics.cpu(), distortion.cpu())
    box = aabb.cpu().double()
    seen = torch.empty(cascades, resolution, resolution, resolution, dtype=torch.bool)
    for cascade in range(cascades):
        half = (box[1] - box[0]) / 2 ** (cascades - cascade)
        low, cell = box.mean(0) - half, 2 * half / resolution
        arrays = (as_array(low), as_array(cell))
        _mark_cube(views, float(width), float(height), *arrays, near, worker_count(), seen[cascade].numpy())
    return seen
