"""Lossless coding of occupancy grids, smaller than any general compressor makes them and equal on every machine.

A grid is coded coarse to fine: every coarse cell covers 2 x 2 x 2 finer ones and is set if one of them is, so empty
space costs one bit far up. The bits are predicted and range-coded by :mod:`nerfcomp.codec.context_mixing`.

Notation: *level* 0 is the coarsest array of cells, at most 4 cells wide; each array carries a border of ``PAD`` zero
cells, and all arrays of one cascade lie one after another in ``cells``.
"""

from typing import NamedTuple

import numpy as np

from nerfcomp.codec.bit_models import WORD_BYTES, finish_coding, start_decoding
from nerfcomp.codec.context_mixing import PAD, code_levels, neighbours, new_occupancy_model

MAX_CELLS = 2**26
MAX_SIDE = 1024
MAX_CASCADES = 64
COARSEST = 4


class _Layout(NamedTuple):
    sizes: np.ndarray  # (L, 3) int64, cells of each level
    offsets: np.ndarray  # (L,) int64, where the level's padded array starts
    near: np.ndarray  # (L, 43) int64, distances of a cell to its neighbours
    total: int


def encode_occupancy(grid: np.ndarray) -> bytes:
    """Code an occupancy grid.

    Args:
        grid: (C, X, Y, Z) bool; C cascades that share one statistic but are otherwise independent.

    Returns:
        The code, at least 4 bytes; the same for the same grid everywhere.

    Raises:
        ValueError: Not a bool grid of four dimensions, empty, or larger than the limits above.

    >>> grid = np.zeros((1, 64, 64, 64), bool)
    >>> grid[0, 20:40, 20:40, 20:40] = True
    >>> len(encode_occupancy(grid)), len(np.packbits(grid))
    (37, 32768)
    """
    if grid.dtype != bool:
        raise ValueError(f"An occupancy grid must be bool, not {grid.dtype}; compare it with a threshold first.")
    _check_shape(grid.shape)
    layout = _layout(grid.shape)
    code = np.zeros(2 * layout.total * len(grid) + 64, np.uint8)
    model = new_occupancy_model()
    for cascade in grid:
        level: np.ndarray = cascade
        cells = np.zeros(layout.total, np.int8)
        for index in range(len(layout.sizes) - 1, -1, -1):
            _inner(cells, layout, index)[...] = level
            level = _halved(level)
        fits = code_levels(model, cells, layout.sizes, layout.offsets, layout.near, code, False)
        assert fits, "no bit costs more than 12 bits"
    return finish_coding(model, code)


def decode_occupancy(code: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """Decode what :func:`encode_occupancy` made.

    Args:
        code: The code, exactly: neither cut nor followed by anything.
        shape: (C, X, Y, Z) of the grid.

    Returns:
        The grid, bool.

    Raises:
        ValueError: ``code`` is too short or too long for such a grid, or the shape is not allowed.

    >>> decode_occupancy(encode_occupancy(np.ones((1, 2, 2, 2), bool)), (1, 2, 2, 2)).all()
    np.True_
    """
    _check_shape(shape)
    layout = _layout(shape)
    model = new_occupancy_model()
    source = np.frombuffer(code, np.uint8).copy()
    if len(source) < WORD_BYTES:
        raise ValueError("the occupancy code is too short for its grid")
    start_decoding(model, source)
    grid = np.zeros(shape, bool)
    for index in range(len(grid)):
        cells = np.zeros(layout.total, np.int8)
        if not code_levels(model, cells, layout.sizes, layout.offsets, layout.near, source, True):
            raise ValueError("the occupancy code is too short for its grid")
        grid[index] = _inner(cells, layout, len(layout.sizes) - 1)
    if model.coder[3] != len(code):
        raise ValueError("the occupancy code is longer than its grid needs")
    return grid


def _check_shape(shape: tuple[int, ...]) -> None:
    """Refuse what would take unreasonable time or memory: too many cascades, too thin or too large grids."""
    if (
        len(shape) != 4
        or min(shape) < 1
        or shape[0] > MAX_CASCADES
        or max(shape) > MAX_SIDE
        or _cells(shape) > MAX_CELLS
    ):
        raise ValueError(
            f"An occupancy grid of shape {tuple(shape)} cannot be coded; use (C, X, Y, Z) with at most {MAX_CASCADES} "
            f"cascades, {MAX_SIDE} cells a side and {MAX_CELLS} cells."
        )


def _cells(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape, dtype=object))


def _layout(shape: tuple[int, ...]) -> _Layout:
    """Halve the spatial size until one coarse array of at most ``COARSEST`` cells a side is left."""
    sizes = [np.array(shape[1:], np.int64)]
    while sizes[-1].max() > COARSEST:
        sizes.append((sizes[-1] + 1) // 2)
    sizes.reverse()
    padded = np.stack(sizes) + 2 * PAD
    ends = np.cumsum(padded.prod(axis=1))
    strides = np.stack([padded[:, 1] * padded[:, 2], padded[:, 2], np.ones_like(ends)], axis=1)
    offsets = np.concatenate([[0], ends[:-1]]).astype(np.int64)
    return _Layout(np.stack(sizes), offsets, strides @ neighbours().T, int(ends[-1]))


def _inner(cells: np.ndarray, layout: _Layout, level: int) -> np.ndarray:
    """View one level of ``cells`` without its border, (X, Y, Z)."""
    padded = layout.sizes[level] + 2 * PAD
    start = layout.offsets[level]
    inside = slice(PAD, -PAD)
    return cells[start : start + np.prod(padded)].reshape(tuple(padded))[inside, inside, inside]


def _halved(level: np.ndarray) -> np.ndarray:
    """Set a coarse cell if one of its up to eight finer ones is set."""
    even = np.pad(level, [(0, size % 2) for size in level.shape])
    x, y, z = (size // 2 for size in even.shape)
    return np.asarray(even.reshape(x, 2, y, 2, z, 2).any(axis=(1, 3, 5)))
