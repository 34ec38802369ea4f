"""Multiresolution hash grid: its geometry and its encoding, laid out exactly as in tiny-cuda-nn.

A grid has L levels. Level l is a lattice of ``resolutions[l]`` points along each axis, stretched so that the unit cube
spans ``scales[l]`` lattice spacings, whose F features per point live in a table of ``entries[l]`` rows. The offset of
half a spacing in ``pos = scale * x + 0.5`` staggers the levels. Source: Müller et al., "Instant Neural Graphics
Primitives with a Multiresolution Hash Encoding" (2022), section 3, and the layout of tiny-cuda-nn's parameters.

`hash_encode` is the one seam for every backend; twins take the arguments of `hash_encode_torch`.
"""

import math
import struct
from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from nerfcomp.kernels.backends import Backend, choose_backend
from nerfcomp.kernels.hash_grid.numba_kernel import hash_encode_numba
from nerfcomp.kernels.hash_grid.torch_kernel import hash_encode_torch

_MOST_LEVELS, _FINEST = 64, 2**22
Rounding = Literal["float32", "float64"]


class GridGeometry(NamedTuple):
    """Shape of every level of a hash grid; plain numbers, hashable, the same on every machine.

    Attributes:
        scales: (L,) lattice spacings across the unit cube; exact float32 values.
        resolutions: (L,) lattice points along one axis.
        entries: (L,) rows of the table, a multiple of 8.
    """

    scales: tuple[float, ...]
    resolutions: tuple[int, ...]
    entries: tuple[int, ...]


def round_float32(value: float) -> float:
    """Round to the nearest float32.

    >>> round_float32(0.1)
    0.10000000149011612
    """
    return float(struct.unpack("f", struct.pack("f", value))[0])


def grid_geometry(
    levels: int = 16,
    log2_table_size: int = 19,
    base_resolution: int = 16,
    finest_resolution: float = 1024,
    rounding: Rounding = "float32",
) -> GridGeometry:
    """Compute the levels of a grid whose resolution grows geometrically from base to finest.

    tiny-cuda-nn computes ``scale = exp2(level * log2(growth)) * base - 1`` in float32. Where ``growth ** level`` is a
    power of two, the last bit of the logarithm decides between, say, 64 and 65 lattice points, and compilers differ in
    it. Both outcomes exist in checkpoints: "float32" takes the logarithm of the growth rounded to float32 (the common
    variant, and ours), "float64" takes it of the exact growth.

    Args:
        levels: Number of levels, 1 to 64.
        log2_table_size: A table has at most ``2 ** log2_table_size`` rows; 3 to 30.
        base_resolution: Resolution of the coarsest level, at least 1.
        finest_resolution: Resolution of the finest level, at least ``base_resolution``, at most 2^22.
        rounding: Which of the two roundings.

    Returns:
        The geometry of every level.

    Raises:
        ValueError: An argument outside its range.

    >>> grid_geometry(levels=3, log2_table_size=14, base_resolution=16, finest_resolution=64)
    GridGeometry(scales=(15.0, 31.0, 63.0), resolutions=(16, 32, 64), entries=(4096, 16384, 16384))
    """
    resolutions_fit = 1 <= base_resolution <= finest_resolution <= _FINEST
    if not 1 <= levels <= _MOST_LEVELS or not 3 <= log2_table_size <= 30 or not resolutions_fit:
        raise ValueError(
            f"A hash grid of {levels} levels, 2^{log2_table_size} entries, resolutions {base_resolution} to "
            f"{finest_resolution} is impossible. Allowed: 1 to {_MOST_LEVELS} levels, 2^3 to 2^30 entries, "
            f"1 <= base_resolution <= finest_resolution <= {_FINEST}."
        )
    if rounding not in get_args(Rounding):
        raise ValueError(f"rounding is {rounding!r}, allowed are {get_args(Rounding)}.")
    growth = math.exp(math.log(finest_resolution / base_resolution) / (levels - 1)) if levels > 1 else 1.0
    log2_growth = round_float32(math.log2(round_float32(growth) if rounding == "float32" else growth))
    scales = tuple(_level_scale(level, log2_growth, base_resolution) for level in range(levels))
    resolutions = tuple(math.ceil(scale) + 1 for scale in scales)
    entries = tuple(min((resolution**3 + 7) // 8 * 8, 2**log2_table_size) for resolution in resolutions)
    return GridGeometry(scales, resolutions, entries)


def _level_scale(level: int, log2_growth: float, base_resolution: int) -> float:
    """Follow tiny-cuda-nn's float32 operations one by one; double precision in between keeps all machines alike."""
    power = round_float32(math.exp2(round_float32(level * log2_growth)))
    return round_float32(round_float32(power * base_resolution) - 1.0)


def hash_encode(x: Tensor, tables: Sequence[Tensor], geometry: GridGeometry, backend: Backend = "auto") -> Tensor:
    """Encode points by interpolating every level of a hash grid.

    Args:
        x: (M, 3) float; coordinates outside [0, 1] are clamped to it. Differentiable.
        tables: L tensors (T_l, F), T_l = ``geometry.entries[l]``. Differentiable.
        geometry: Shape of the levels.
        backend: "torch"; "numba" (float32 on the CPU); "triton" (float32 on a GPU); or "auto", see `choose_backend`.
            Second derivatives are always those of "torch".

    Returns:
        (M, L * F): the features of level 0, then of level 1, ...

    Raises:
        ValueError: Unknown backend, one that cannot take these tensors, or tables that do not fit the geometry.

    >>> import torch
    >>> geometry = grid_geometry(levels=1, log2_table_size=3, base_resolution=2, finest_resolution=2)
    >>> hash_encode(torch.tensor([[0.0, 0.0, 0.5]]), [torch.arange(16.0).view(8, 2)], geometry).tolist()
    [[11.0, 12.0]]
    """
    rows = [table.shape[0] for table in tables]
    if rows != list(geometry.entries) or x.ndim != 2 or x.shape[1] != 3:
        raise ValueError(
            f"Positions {tuple(x.shape)} and tables of {rows} rows do not fit the grid. It takes (M, 3) positions in "
            f"[0, 1] and one table per level, of {list(geometry.entries)} rows."
        )
    chosen = choose_backend("hash grid", backend, (x, *tables))
    if chosen == "triton":
        from nerfcomp.kernels.hash_grid.triton_kernel import hash_encode_triton

        return hash_encode_triton(x, list(tables), geometry.scales, geometry.resolutions)
    encode = hash_encode_numba if chosen == "numba" else hash_encode_torch
    return encode(x, list(tables), geometry.scales, geometry.resolutions)
