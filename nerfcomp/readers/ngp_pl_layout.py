"""Layout of the tensors in ngp_pl checkpoints: one architecture, whose sizes follow from the scene's scale.

tiny-cuda-nn keeps a network as one vector: its matrices, (out, in) row by row, the last one padded to a multiple of 16
rows (8 in builds before September 2022), and hash tables behind them, level by level, row by row.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from nerfcomp.errors import CheckpointError
from nerfcomp.kernels.hash_grid import GridGeometry, Rounding, grid_geometry

LEVELS, FEATURES, LOG2_TABLE_SIZE, BASE_RESOLUTION = 16, 2, 19, 16
FINEST_PER_SCALE = 2048
CELLS = 128**3
DENSITY_SHAPES = ((64, 32), (16, 64))
RGB_SHAPES = ((64, 32), (64, 64), (3, 64))
_ROUNDINGS: tuple[Rounding, Rounding] = ("float32", "float64")


def ngp_pl_cascades(scale: float) -> int:
    """Nested occupancy cubes of a scene in [-scale, scale]^3.

    Raises:
        CheckpointError: A scale that is not 0.5, 1, 2, 4, ...; its cubes would not nest by halves.
    """
    mantissa, exponent = math.frexp(scale) if math.isfinite(scale) else (0.0, 0)
    if mantissa != 0.5 or not 0 <= exponent <= 7:
        raise CheckpointError(
            f"The checkpoint's scale is {scale}; only 0.5, 1, 2, 4, ..., 64 can be read, whose cascades halve exactly."
        )
    return exponent + 1


def ngp_pl_geometry(scale: float, rounding: Rounding = "float32") -> GridGeometry:
    """Hash-grid levels of an ngp_pl model of that scale."""
    finest = FINEST_PER_SCALE * scale
    return grid_geometry(LEVELS, LOG2_TABLE_SIZE, BASE_RESOLUTION, finest, rounding)


def find_rounding(length: int, scale: float, source: str) -> Rounding:
    """Tell the rounding whose tables fill the encoder's vector.

    Raises:
        CheckpointError: Neither does.
    """
    matrices = sum(rows * columns for rows, columns in DENSITY_SHAPES)
    expected = {r: matrices + FEATURES * sum(ngp_pl_geometry(scale, r).entries) for r in _ROUNDINGS}
    for rounding, size in expected.items():
        if length == size:
            return rounding
    sizes = " or ".join(f"{size:,}" for size in sorted(set(expected.values())))
    raise CheckpointError(
        f"{source} has {length:,} encoder parameters, but scale {scale} has {sizes}. Was it trained at another scale?"
    )


def split_matrices(vector: Tensor, shapes: Sequence[tuple[int, int]]) -> tuple[tuple[Tensor, ...], Tensor]:
    """Take matrices from the front of a vector; the rest comes back too."""
    sizes = [math.prod(shape) for shape in shapes]
    *parts, rest = vector.split([*sizes, vector.numel() - sum(sizes)])
    return tuple(part.view(shape).clone() for part, shape in zip(parts, shapes)), rest


def split_rgb(vector: Tensor, source: str) -> tuple[Tensor, ...]:
    """Take the colour network's matrices out of its vector, without padding.

    Raises:
        CheckpointError: Its length fits no padding.
    """
    *hidden, (rows, columns) = RGB_SHAPES
    sizes = [sum(math.prod(shape) for shape in hidden) + padded * columns for padded in (8, 16)]
    if vector.numel() not in sizes:
        raise CheckpointError(
            f"{source} has {vector.numel():,} parameters in its colour network; ngp_pl's has {sizes[1]:,}, or "
            f"{sizes[0]:,} if built for an old GPU."
        )
    matrices, last = split_matrices(vector, hidden)
    return *matrices, last.view(-1, columns)[:rows].clone()


def check_shapes(what: str, tensors: Sequence[Tensor], shapes: Sequence[tuple[int, ...]]) -> None:
    """Refuse tensors of other shapes.

    Raises:
        CheckpointError: A shape differs.
    """
    found = [tuple(tensor.shape) for tensor in tensors]
    if found != [tuple(shape) for shape in shapes]:
        raise CheckpointError(f"ngp_pl's {what} have the shapes {[tuple(shape) for shape in shapes]}, found {found}.")


def join(tensors: Sequence[Tensor]) -> Tensor:
    """Flatten tensors into one float32 vector on the CPU."""
    return torch.cat([tensor.detach().to("cpu", torch.float32).flatten() for tensor in tensors])
