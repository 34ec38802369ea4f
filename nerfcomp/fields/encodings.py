"""Encodings: what turns a position or a direction into the vector that an MLP sees."""

from typing import cast, get_args

import torch
from torch import Tensor, nn

from nerfcomp.kernels.backends import Backend
from nerfcomp.kernels.hash_grid import Rounding, grid_geometry, hash_encode
from nerfcomp.kernels.read_rows import read_rows


class GridLevel(nn.Module):
    """Table of one level of a hash grid.

    Args:
        entries: Rows.
        features: Columns.

    Attributes:
        weight: (entries, features), drawn from U(-1e-4, 1e-4).
        sparse_gradient: A step touches few rows; several processes send each other these alone.
    """

    sparse_gradient = True

    def __init__(self, entries: int, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(entries, features).uniform_(-1e-4, 1e-4))

    def extra_repr(self) -> str:
        """Show the table's size."""
        return "{}, {}".format(*self.weight.shape)


class HashGrid(nn.Module):
    """Multiresolution hash encoding of Müller et al. (2022) with tiny-cuda-nn's parameter layout.

    Args:
        n_levels: Number of levels.
        features: Features per lattice point.
        log2_table_size: A level has at most ``2 ** log2_table_size`` rows.
        base_resolution: Resolution of the coarsest level.
        finest_resolution: Resolution of the finest level; levels in between grow geometrically.
        rounding: Which of tiny-cuda-nn's two roundings of the growth; see `grid_geometry`.
        backend: Implementation of `hash_encode`.

    Attributes:
        geometry: Scale, resolution and rows of every level.
        levels: One `GridLevel` per level; level l's table is called ``levels.l.weight``.
        out_features: ``n_levels * features``.

    Raises:
        ValueError: An argument outside its range.
    """

    def __init__(
        self,
        n_levels: int = 16,
        features: int = 2,
        log2_table_size: int = 19,
        base_resolution: int = 16,
        finest_resolution: float = 1024,
        rounding: Rounding = "float32",
        backend: Backend = "auto",
    ) -> None:
        super().__init__()
        if not 1 <= features <= 256:
            raise ValueError(f"A hash grid of {features} features per entry is impossible; 1 to 256 are possible.")
        if backend not in get_args(Backend):
            raise ValueError(f"Hash-grid backend is {backend!r}, allowed are {', '.join(get_args(Backend))}.")
        self.geometry = grid_geometry(n_levels, log2_table_size, base_resolution, finest_resolution, rounding)
        self.levels = nn.ModuleList(GridLevel(entries, features) for entries in self.geometry.entries)
        self.out_features = n_levels * features
        self.backend: Backend = backend

    @property
    def tables(self) -> list[Tensor]:
        """Table (T_l, features) of every level."""
        return [cast(Tensor, level.weight) for level in self.levels]

    def forward(self, x: Tensor) -> Tensor:
        """Encode positions (M, 3) in [0, 1] as (M, out_features)."""
        return hash_encode(x, self.tables, self.geometry, self.backend)

    def read_rows(self, occupied: Tensor) -> dict[str, Tensor]:
        """Rows that positions in occupied cells (C, R, R, R) of the unit cube read, bool (T_l,), by weight.

        Weights of which all rows are read are left out.
        """
        found = enumerate(read_rows(occupied, self.geometry))
        return {f"levels.{level}.weight": rows for level, rows in found if rows is not None}


class SphericalHarmonics(nn.Module):
    """Real spherical harmonics of a direction in tiny-cuda-nn's order and signs (Condon-Shortley phase included).

    Component ``l * l + l + m`` is the harmonic of degree l and order m.

    Args:
        degree: Number of bands, 1 to 4.

    Attributes:
        out_features: ``degree ** 2``.

    Raises:
        ValueError: Any other degree.
    """

    def __init__(self, degree: int = 4) -> None:
        super().__init__()
        if not 1 <= degree <= 4:
            raise ValueError(f"Spherical harmonics of degree {degree} are not offered; allowed are 1, 2, 3 and 4.")
        self.degree = degree
        self.out_features = degree**2

    def forward(self, d: Tensor) -> Tensor:
        """Evaluate the harmonics of unit directions (M, 3) as (M, out_features)."""
        return torch.stack(_harmonics(*d.unbind(-1))[: self.out_features], dim=-1)


def _harmonics(x: Tensor, y: Tensor, z: Tensor) -> list[Tensor]:
    """All harmonics of degree 0 to 3, each in the shape of its arguments."""
    xx, yy, zz = x * x, y * y, z * z
    return [
        torch.full_like(x, 0.28209479177387814),
        -0.4886025119029199 * y,
        0.4886025119029199 * z,
        -0.4886025119029199 * x,
        1.0925484305920792 * x * y,
        -1.0925484305920792 * y * z,
        0.9461746957575601 * zz - 0.31539156525252005,
        -1.0925484305920792 * x * z,
        0.5462742152960396 * (xx - yy),
        0.5900435899266435 * y * (yy - 3.0 * xx),
        2.890611442640554 * x * y * z,
        0.4570457994644658 * y * (1.0 - 5.0 * zz),
        0.3731763325901154 * z * (5.0 * zz - 3.0),
        0.4570457994644658 * x * (1.0 - 5.0 * zz),
        1.445305721320277 * z * (xx - yy),
        0.5900435899266435 * x * (3.0 * yy - xx),
    ]


class Frequency(nn.Module):
    """Sines and cosines of every coordinate at doubling frequencies (Mildenhall et al., "NeRF" (2020), Eq. 4).

    The order is that of the original code: x, sin(x), cos(x), sin(2x), cos(2x), ... with all coordinates in every term,
    and without the factor pi of the paper.

    Args:
        n_frequencies: Number of octaves, at least 1.
        in_features: Coordinates of a point.
        include_input: Whether the coordinates themselves come first.

    Attributes:
        out_features: Length of the encoding.

    Raises:
        ValueError: No octave.
    """

    def __init__(self, n_frequencies: int = 10, in_features: int = 3, include_input: bool = True) -> None:
        super().__init__()
        if not 1 <= n_frequencies <= 64:
            raise ValueError(f"A frequency encoding of {n_frequencies} octaves is impossible; it has 1 to 64.")
        self.n_frequencies = n_frequencies
        self.include_input = include_input
        self.out_features = in_features * (2 * n_frequencies + include_input)

    def forward(self, x: Tensor) -> Tensor:
        """Encode points (M, in_features) as (M, out_features)."""
        octaves = [x * 2.0**octave for octave in range(self.n_frequencies)]
        waves = [wave for angle in octaves for wave in (angle.sin(), angle.cos())]
        return torch.cat([x, *waves] if self.include_input else waves, dim=-1)
