"""Which cells of a grid the silhouettes of a scene allow: its visual hull (Laurentini 1994), cell by cell.

Cells and cameras as in `nerfcomp.kernels.seen_cells`. A cell is carved away as soon as one view shows nothing but fully
transparent pixels where the ball around the cell projects.
"""

import math

import numpy as np
import torch
from numba import prange
from torch import Tensor

from nerfcomp.kernels.numba_setup import Array, Scalar, as_array, kernel, parallel_kernel, worker_count
from nerfcomp.kernels.seen_cells import project, view_table

_COARSE = 4  # cells that are tried together first, along an axis
_MOST_VIEWS = 48  # evenly spread; more carve hardly anything besides
_SLACK = 1.5  # pixels around a footprint that must be transparent, too


@kernel
def _carved(views: Array, view: Scalar, sums: Array, x: Scalar, y: Scalar, z: Scalar, radius: Scalar) -> Scalar:
    """Whether a view shows only transparent pixels around the projection of a ball; ``sums`` as in `_running_sums`."""
    column, row, depth, square = project(views, view, x, y, z)
    empty = False
    if depth > 2.0 * radius and square <= views[view, 20]:
        margin = 1.5 * radius / depth
        wide, high = margin * views[view, 12] + _SLACK, margin * views[view, 13] + _SLACK
        left, top = math.floor(column - wide), math.floor(row - high)
        right, bottom = math.ceil(column + wide), math.ceil(row + high)
        if left >= 0 and top >= 0 and bottom < sums.shape[1] and right < sums.shape[2]:
            inside = sums[view, bottom, right] - sums[view, top, right]
            empty = inside - sums[view, bottom, left] + sums[view, top, left] == 0
    return empty


@parallel_kernel
def _carve_cube(views: Array, sums: Array, low: Array, cell: Array, workers: Scalar, allowed: Array) -> None:
    """Carve the cells of one cascade that are still allowed; the view that carved the last cell is tried first."""
    radius = 0.5 * math.sqrt(cell[0] * cell[0] + cell[1] * cell[1] + cell[2] * cell[2])
    for worker in prange(workers):
        for i in range(worker, allowed.shape[0], workers):
            last = 0
            for j in range(allowed.shape[1]):
                for k in range(allowed.shape[2]):
                    if not allowed[i, j, k]:
                        continue
                    x, y, z = low[0] + (i + 0.5) * cell[0], low[1] + (j + 0.5) * cell[1], low[2] + (k + 0.5) * cell[2]
                    carved, view = False, last
                    for _ in range(len(views)):
                        if _carved(views, view, sums, x, y, z, radius):
                            carved, last = True, view
                            break
                        view = view + 1 if view + 1 < len(views) else 0
                    allowed[i, j, k] = not carved


def _running_sums(alpha: Tensor) -> Array:
    """(V, H + 1, W + 1) int32: number of pixels that are not fully transparent above and left of each corner."""
    sums = torch.zeros(alpha.shape[0], alpha.shape[1] + 1, alpha.shape[2] + 1, dtype=torch.int32)
    sums[:, 1:, 1:] = (alpha > 0).cumsum(1, dtype=torch.int32).cumsum(2, dtype=torch.int32)
    return np.ascontiguousarray(as_array(sums))


def silhouette_cells(
    c2w: Tensor, intrinsics: Tensor, distortion: Tensor, alpha: Tensor, aabb: Tensor, cascades: int, resolution: int
) -> Tensor:
    """Find the cells that no view shows to be empty.

    Args:
        c2w: (V, 3, 4) camera to world of V views.
        intrinsics: (V, 4) fx, fy, cx, cy in pixels.
        distortion: (V, 4) k1, k2, p1, p2.
        alpha: (V, H, W) uint8 opacity of the views' pixels.
        aabb: (2, 3) box of the coarsest cascade.
        cascades: Number of nested cubes, C.
        resolution: Cells along an axis, R.

    Returns:
        (C, R, R, R) bool on the CPU. Cells outside of a view are not carved by it.

    >>> pose = torch.tensor([[[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 4.0]]])  # on +z, looking along -z
    >>> camera = (pose, torch.tensor([[64.0, 64.0, 32.0, 32.0]]), torch.zeros(1, 4))
    >>> alpha = torch.zeros(1, 64, 64, dtype=torch.uint8)
    >>> alpha[0, 32, 32] = 255
    >>> silhouette_cells(*camera, alpha, torch.tensor([[-1.0] * 3, [1.0] * 3]), 1, 16)[0, :, 8, 8].int().tolist()
    [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0]
    """
    kept = torch.linspace(0, len(c2w) - 1, min(len(c2w), _MOST_VIEWS)).round().long()
    views = view_table(c2w.cpu()[kept], intrinsics.cpu()[kept], distortion.cpu()[kept])
    sums, box = _running_sums(alpha.cpu()[kept]), aabb.cpu().double()
    cubes = []
    for cascade in range(cascades):
        half = (box[1] - box[0]) / 2 ** (cascades - cascade)
        cubes.append(_carve(views, sums, box.mean(0) - half, 2 * half, resolution))
    return torch.stack(cubes)


def _carve(views: Array, sums: Array, low: Tensor, side: Tensor, resolution: int) -> Tensor:
    """Carve one cube: coarse cells first, then the finer ones inside those that are left."""
    start = resolution // _COARSE if resolution % _COARSE == 0 else resolution
    allowed = torch.ones(start, start, start, dtype=torch.bool)
    for size in sorted({start, resolution}):
        repeat = size // len(allowed)
        for axis in range(3):
            allowed = allowed.repeat_interleave(repeat, axis)
        allowed = allowed.contiguous()
        _carve_cube(views, sums, as_array(low), as_array(side / size), worker_count(), allowed.numpy())
    return allowed
