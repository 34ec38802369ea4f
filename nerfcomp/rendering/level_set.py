"""Triangle meshes of level sets: marching cubes block by block, only where there can be something.

Notation of this file: a grid of ``R^3`` cells over a box; a block is ``B^3`` of them. Positions on the grid count
cells from the corner of the box. Source of the cubes: Lewiner et al., "Efficient Implementation of Marching Cubes'
Cases with Topological Guarantees" (2003), as scikit-image has it.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nerfcomp.geometry.meshes import Mesh
from nerfcomp.lazy import import_extra

Bool = NDArray[np.bool_]
_BLOCK = 64
_COARSE = 8  # cells along an axis that are ruled out together
_CHUNK = 2**16  # points evaluated at once
_SNAP = 1e-4  # cells around a lattice point in which all vertices are one


class LevelSet(NamedTuple):
    """A surface as the place where a function has a value.

    Attributes:
        value_fn: Values (M,) at positions (M, 3), larger inside.
        level: The value of the surface.
        slope: Most that the function changes per unit of length; unknown when absent.
        allowed_fn: Whether there can be surface at positions (M, 3), bool (M,); everywhere when absent.
    """

    value_fn: Callable[[Tensor], Tensor]
    level: float
    slope: float | None = None
    allowed_fn: Callable[[Tensor], Tensor] | None = None


@torch.no_grad()
def extract_mesh(surface: LevelSet, aabb: Tensor, resolution: int, block: int = _BLOCK) -> Mesh:
    """Find a level set in a box. Memory grows with the area of the surface, not with the volume of the box.

    Where a function cannot be evaluated because nothing is allowed there, the mesh stays open.

    Args:
        surface: What to find.
        aabb: (2, 3) the box.
        resolution: Cells along every axis, R.
        block: Cells of a block along an axis, divisible by 8.

    Returns:
        The mesh, in the units of the box, without colours; empty where nothing is found.

    Raises:
        MissingExtraError: scikit-image is not installed.
        ValueError: A number outside its range.
    """
    if not 8 <= resolution <= 4096 or block % _COARSE or block < _COARSE:
        raise ValueError(
            f"Meshes have 8 to 4096 cells along an axis in blocks of 8, 16, ...; got {resolution}, {block}."
        )
    cell = (aabb[1] - aabb[0]) / resolution
    parts = [
        part
        for corner in _corners(resolution, block)
        if (part := _march_block(surface, aabb[0], cell, corner, min(block, resolution), resolution)) is not None
    ]
    if not parts:
        return Mesh(np.zeros((0, 3)), np.zeros((0, 3), np.int64))
    counts = np.cumsum([0, *(len(vertices) for vertices, _ in parts)])
    faces = np.concatenate([faces + first for (_, faces), first in zip(parts, counts)])
    mesh = weld(np.concatenate([vertices for vertices, _ in parts]), faces)
    return mesh._replace(vertices=mesh.vertices * cell.double().cpu().numpy() + aabb[0].double().cpu().numpy())


def weld(grid: NDArray[np.float64], faces: NDArray[np.int64]) -> Mesh:
    """Make one of the vertices that blocks share: those on one edge of the grid, or inside one cell.

    Args:
        grid: (V, 3) positions on the grid; vertices of marching cubes lie on edges of cells, few inside cells.
        faces: (F, 3).

    Returns:
        The mesh on the grid, without faces that have become lines.
    """
    nearest = np.rint(grid)
    key = np.where(np.abs(grid - nearest) < _SNAP, 2 * nearest, 2 * np.floor(grid) + 1).astype(np.int64)
    width = int(key.max(initial=0)) + 1
    _, first, number = np.unique((key[:, 0] * width + key[:, 1]) * width + key[:, 2], True, True)
    faces = number[faces]
    alive = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
    return Mesh(grid[first], faces[alive])


def _corners(resolution: int, block: int) -> Iterator[NDArray[np.int64]]:
    """First cells of all blocks."""
    starts = range(0, resolution, block)
    for x in starts:
        for y in starts:
            for z in starts:
                yield np.array([x, y, z])


def _march_block(
    surface: LevelSet, origin: Tensor, cell: Tensor, corner: NDArray[np.int64], size: int, resolution: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]] | None:
    """Vertices on the grid and faces of one block; nothing where the surface does not pass."""
    number = -(-size // _COARSE)
    cells = _ask_coarse(surface, origin, cell, corner, number)
    for axis in range(3):
        cells = cells.repeat(_COARSE, axis)
    for axis, left in enumerate(resolution - corner):  # the last blocks reach beyond the box
        cells[(slice(None),) * axis + (slice(max(int(left), 0), None),)] = False
    if not cells.any():
        return None
    points = _corners_of(cells)
    volume = np.full(points.shape, np.float32(surface.level), np.float32)
    rows = np.argwhere(points)
    where = torch.from_numpy(rows + corner).to(origin) * cell + origin
    volume[points] = _evaluate(surface.value_fn, where).astype(np.float32)
    inside = volume[points] > surface.level
    if inside.all() or not inside.any():
        return None
    return _march(volume, surface.level, cells, corner)


def _ask_coarse(surface: LevelSet, origin: Tensor, cell: Tensor, corner: NDArray[np.int64], number: int) -> Bool:
    """(n, n, n) which groups of cells the surface may pass."""
    axis = torch.arange(number, device=origin.device) * _COARSE + _COARSE / 2
    grid = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).view(-1, 3)
    middle = (grid + torch.from_numpy(corner).to(grid)).to(origin) * cell + origin
    may = torch.ones(len(middle), dtype=torch.bool, device=origin.device)
    if surface.allowed_fn is not None:
        may &= _anywhere(surface.allowed_fn, middle, cell)
    if surface.slope is not None and bool(may.any()):
        reach = surface.slope * _COARSE / 2 * float(cell.norm())
        near = np.abs(_evaluate(surface.value_fn, middle[may]) - surface.level) <= reach
        may[may.clone()] = torch.from_numpy(near).to(may.device)
    found: Bool = may.view(number, number, number).cpu().numpy()
    return found


def _anywhere(allowed_fn: Callable[[Tensor], Tensor], middle: Tensor, cell: Tensor) -> Tensor:
    """Whether anything is allowed at the middle or one of the eight corners of groups of cells."""
    may = allowed_fn(middle)
    for corner in range(8):
        side = torch.tensor([corner & 1, corner >> 1 & 1, corner >> 2 & 1], device=cell.device) - 0.5
        may = may | allowed_fn(middle + side * 0.99 * _COARSE * cell)
    return may


def _corners_of(cells: Bool) -> Bool:
    """(B + 1)^3 lattice points that are corners of some cells (B, B, B)."""
    points = np.zeros([size + 1 for size in cells.shape], bool)
    low, high = slice(None, -1), slice(1, None)
    for corner in range(8):
        points[tuple(high if corner >> axis & 1 else low for axis in range(3))] |= cells
    return points


def _evaluate(value_fn: Callable[[Tensor], Tensor], points: Tensor) -> NDArray[np.float64]:
    """Values (M,) at many points."""
    parts = [value_fn(some).double().cpu().numpy() for some in torch.split(points, _CHUNK)]
    return np.concatenate(parts) if parts else np.zeros(0)


def _march(
    volume: NDArray[np.float32], level: float, cells: Bool, corner: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]] | None:
    """Marching cubes through some cells of a block."""
    marching_cubes = load_marching_cubes()
    mask = np.zeros(volume.shape, bool)
    mask[1:, 1:, 1:] = cells  # scikit-image lets the last corner of a cell speak for it
    try:
        vertices, faces, _, _ = marching_cubes(volume, level, mask=mask, gradient_direction="ascent")
    except (RuntimeError, ValueError):  # no cell that is allowed has the surface in it
        return None
    return vertices.astype(np.float64) + corner, faces.astype(np.int64)


def load_marching_cubes() -> Any:
    """scikit-image's function.

    Raises:
        MissingExtraError: It is not installed.
    """
    return import_extra("skimage.measure", "Meshes need scikit-image: pip install 'nerfcomp[mesh]'.").marching_cubes
