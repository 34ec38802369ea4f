"""Orthonormal wavelet transforms of cubes, written as small matrices that multiply every axis.

Notation: S samples along an axis become m coefficients, the low band first; ``T`` (S, m) is the *synthesis* matrix of
one level, ``x = T c``. Two ways to meet the border:

    zero      the signal goes on with zeros; every filter that touches it gives one, so m > S (pywt's ``zero``)
    periodic  the signal is repeated; m = S (pywt's ``periodization``). A last sample of an odd number stays as it is,
              at the end of the low band.

Source: Daubechies, "Ten lectures on wavelets" (1992), tables 6.1; Mallat, "A theory for multiresolution signal
decomposition" (1989), for the layout of the cube.
"""

import math
from functools import cache
from typing import Literal, get_args

import torch
from torch import Tensor

Wavelet = Literal["haar", "db2", "db4"]
Border = Literal["zero", "periodic"]

_ROOT3 = math.sqrt(3.0)
_SCALING: dict[str, tuple[float, ...]] = {
    "haar": (1 / math.sqrt(2), 1 / math.sqrt(2)),
    "db2": tuple(v / (4 * math.sqrt(2)) for v in (1 + _ROOT3, 3 + _ROOT3, 3 - _ROOT3, 1 - _ROOT3)),
    "db4": (
        0.23037781330885523,
        0.7148465705525415,
        0.6308807679295904,
        -0.02798376941698385,
        -0.18703481171888114,
        0.030841381835986965,
        0.032883011666982945,
        -0.010597401784997278,
    ),
}


def max_level(size: int, wavelet: Wavelet) -> int:
    """Levels after which the low band is shorter than the filter.

    >>> max_level(15, "db2"), max_level(32, "haar"), max_level(4, "db4")
    (2, 5, 0)
    """
    return max(0, int(math.log2(size / (len(_SCALING[wavelet]) - 1)))) if size > 1 else 0


@cache
def _rows(size: int, wavelet: Wavelet, border: Border) -> tuple[tuple[tuple[float, ...], ...], int]:
    """Analysis rows, low ones first, and how many of them are low."""
    scaling = _SCALING[wavelet]
    length, even = len(scaling), size - size % 2
    low, high = scaling[::-1], tuple((-1) ** (k + 1) * value for k, value in enumerate(scaling))
    count = (size + length - 1) // 2 if border == "zero" else even // 2
    rows = []
    for taps in (low, high):
        for i in range(count):
            row = [0.0] * size
            for k, tap in enumerate(taps):
                at = 2 * i + 1 - k if border == "zero" else (2 * i + length // 2 - k) % even
                if 0 <= at < size:
                    row[at] += tap
            rows.append(tuple(row))
    if border == "periodic" and size % 2:
        rows.insert(count, (0.0,) * even + (1.0,))
        count += 1
    return tuple(rows), count


def synthesis(size: int, wavelet: Wavelet, border: Border) -> tuple[Tensor, int]:
    """Synthesis matrix of one level.

    Args:
        size: Samples S, at least 1.
        wavelet: Name of the filter.
        border: How the border is met.

    Returns:
        ``T`` (S, m) float32, and the length of the low band.

    Raises:
        ValueError: Unknown name, or no sample.

    >>> synthesis(2, "haar", "periodic")
    (tensor([[ 0.7071,  0.7071],
            [ 0.7071, -0.7071]]), 1)
    """
    if wavelet not in get_args(Wavelet) or border not in get_args(Border) or size < 1:
        raise ValueError(
            f"There is no {wavelet!r} transform of {size} samples with border {border!r}. Allowed: wavelets "
            f"{', '.join(get_args(Wavelet))}; borders {', '.join(get_args(Border))}; at least 1 sample."
        )
    rows, low = _rows(size, wavelet, border)
    return torch.tensor(rows, dtype=torch.float64).t().float().contiguous(), low


def along_axes(matrix: Tensor, cube: Tensor) -> Tensor:
    """Multiply the last three axes of a cube (C, m, m, m) by a matrix (S, m): (C, S, S, S).

    >>> along_axes(torch.ones(1, 2), torch.ones(1, 2, 2, 2)).tolist()
    [[[[8.0]]]]
    """
    for axis in (1, 2, 3):
        rows: Tensor = torch.matmul(cube.movedim(axis, -1), matrix.t())
        cube = rows.movedim(-1, axis)
    return cube


def split_bands(cube: Tensor, low: int) -> tuple[Tensor, Tensor]:
    """Take a cube of one padded level apart: low band (C, s, s, s) and the seven others (C, 7, s, s, s)."""
    halves = cube.unflatten(3, (2, low)).unflatten(2, (2, low)).unflatten(1, (2, low))
    bands = halves.permute(0, 1, 3, 5, 2, 4, 6).flatten(1, 3)
    return bands[:, 0], bands[:, 1:]


def join_bands(low: Tensor, details: Tensor) -> Tensor:
    """Undo `split_bands`."""
    size = low.shape[-1]
    bands = torch.cat([low.unsqueeze(1), details], dim=1).unflatten(1, (2, 2, 2))
    out: Tensor = bands.permute(0, 1, 4, 2, 5, 3, 6).reshape(len(low), 2 * size, 2 * size, 2 * size)
    return out


def decompose(grid: Tensor, wavelet: Wavelet, border: Border) -> list[Tensor]:
    """Transform a grid over `max_level` levels.

    Args:
        grid: (C, S, S, S).
        wavelet: Name of the filter.
        border: How the border is met.

    Returns:
        With ``zero``: the low band (C, s, s, s), then the details (C, 7, s, s, s) of each level, coarsest first. With
        ``periodic``: one cube of the grid's shape, each level in the corner of the next.
    """
    size, details, kept = grid.shape[-1], list[Tensor](), grid.clone()
    for _ in range(max_level(size, wavelet)):
        matrix, low = synthesis(grid.shape[-1], wavelet, border)
        cube = along_axes(matrix.t().to(grid), grid)
        if border == "zero":
            grid, part = split_bands(cube, low)
            details.insert(0, part.contiguous())
        else:
            n = cube.shape[-1]
            kept[:, :n, :n, :n] = cube
            grid = cube[:, :low, :low, :low]
    return [grid.contiguous(), *details] if border == "zero" else [kept]


def compose(bands: list[Tensor], size: int, wavelet: Wavelet, border: Border) -> Tensor:
    """Undo `decompose`, with gradients.

    Args:
        bands: What it returned.
        size: Samples S of the grid.
        wavelet: Name of the filter.
        border: How the border is met.

    Returns:
        (C, S, S, S).

    >>> grid = torch.arange(27.0).view(1, 3, 3, 3)
    >>> bool(torch.allclose(compose(decompose(grid, "haar", "periodic"), 3, "haar", "periodic"), grid, atol=1e-5))
    True
    """
    sizes = [size]
    for _ in range(max_level(size, wavelet)):
        sizes.append(synthesis(sizes[-1], wavelet, border)[1])
    low = bands[0] if border == "zero" else bands[0][:, : sizes[-1], : sizes[-1], : sizes[-1]]
    for level, n in enumerate(reversed(sizes[:-1])):
        matrix = synthesis(n, wavelet, border)[0].to(low)
        if border == "zero":
            cube = join_bands(low, bands[level + 1])
        else:
            corner, s = bands[0][:, :n, :n, :n], low.shape[-1]
            cube = corner + torch.nn.functional.pad(low - corner[:, :s, :s, :s], (0, n - s) * 3)
        low = along_axes(matrix, cube)
    return low
