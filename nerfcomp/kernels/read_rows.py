"""Which rows of a hash grid's tables the occupied cells of a scene read; pictures are made of these rows alone.

Geometry and rows are those of `nerfcomp.kernels.hash_grid`, cells those of `nerfcomp.kernels.march`. Encoder and
decoder must find the same rows, so that all that is not a whole number is computed axis by axis in double precision, in
an order that leaves nothing to a compiler.
"""

import numpy as np
import torch
from torch import Tensor

from nerfcomp.kernels.hash_grid import GridGeometry
from nerfcomp.kernels.hash_grid.torch_kernel import PRIMES
from nerfcomp.kernels.numba_setup import Array, kernel

_MARGIN = 1e-3  # lattice spacings: float32 positions of samples may lie beyond the face of their cell
_MOST_READS = 4.0  # lattice points per row, beyond which hardly a row is read by none (e^-4)
_MOST_CELLS = 2**21  # occupied ones; a file of unknown origin may have more of them than can be looked through
_MOST_KEPT = 0.95  # of the rows, beyond which leaving out the others is not worth it
_PRIME_Y, _PRIME_Z = np.uint32(PRIMES[1]), np.uint32(PRIMES[2])


@kernel
def _mark(cells: Array, low: Array, high: Array, resolution: int, mask: int, read: Array) -> None:
    """Mark the rows of all lattice points from ``low`` to ``high`` of every cell (x, y, z); ``mask`` 0 is dense."""
    for cell in cells:
        for z in range(low[cell[2]], high[cell[2]] + 1):
            for y in range(low[cell[1]], high[cell[1]] + 1):
                line = np.uint32(np.uint32(y) * _PRIME_Y) ^ np.uint32(np.uint32(z) * _PRIME_Z)
                for x in range(low[cell[0]], high[cell[0]] + 1):
                    if mask > 0:
                        read[(np.uint32(x) ^ line) & np.uint32(mask)] = True
                    else:
                        read[(x + resolution * (y + resolution * z)) % len(read)] = True


def read_rows(occupied: Tensor, geometry: GridGeometry) -> list[Tensor | None]:
    """Find the rows that positions in occupied cells read.

    Args:
        occupied: (C, R, R, R) bool; cascade c covers the unit cube shrunk about its centre by ``2^(C - 1 - c)``.
        geometry: Of the grid, which spans the unit cube.

    Returns:
        For each level (T_l,) bool on the CPU; None where all rows, or almost all, are read, or too many cells occupied.

    >>> from nerfcomp.kernels.hash_grid import grid_geometry
    >>> occupied = torch.zeros(1, 4, 4, 4, dtype=torch.bool)
    >>> occupied[0, 0, 0, 0] = True
    >>> (rows,) = read_rows(occupied, grid_geometry(1, 9, 8, 8))
    >>> rows.nonzero().flatten().tolist()[:6], int(rows.sum())  # lattice points 0 to 3 along every axis
    ([0, 1, 2, 3, 8, 9], 64)
    """
    cascades, side = occupied.shape[:2]
    cells = [np.argwhere(part) for part in occupied.cpu().numpy()]
    widths = [2.0 ** (cascade + 1 - cascades) for cascade in range(cascades)]
    if sum(len(some) for some in cells) > _MOST_CELLS:
        return [None] * len(geometry.entries)
    found: list[Tensor | None] = []
    for scale, resolution, entries in zip(*geometry):
        points = sum(len(some) * (width * scale / side) ** 3 for some, width in zip(cells, widths))
        if points > _MOST_READS * entries:
            found.append(None)
            continue
        read = np.zeros(entries, np.bool_)
        for some, width in zip(cells, widths):
            low, high = _lattice_points(scale, width, side)
            _mark(some, low, high, resolution, entries - 1 if entries < resolution**3 else 0, read)
        found.append(torch.from_numpy(read) if 0 < int(read.sum()) <= _MOST_KEPT * entries else None)
    return found


def _lattice_points(scale: float, width: float, side: int) -> tuple[Array, Array]:
    """First and last lattice point along an axis that each of the cells of one cascade reads."""
    edges = 0.5 - 0.5 * width + np.arange(side + 1) * width / side
    places = scale * edges
    low = np.floor(places[:-1] + (0.5 - _MARGIN)).astype(np.int64)
    high = np.floor(places[1:] + (0.5 + _MARGIN)).astype(np.int64) + 1
    return np.maximum(low, 0), high
