"""Instant-NGP radiance field: hash grid -> density MLP -> colour MLP (Mueller et al. 2022; defaults of ngp_pl)."""

from typing import Literal

import torch
from torch import Tensor

from nerfcomp.descriptions import own_arguments, require_between
from nerfcomp.fields.activations import color_activation, truncated_exp
from nerfcomp.fields.base import RadianceField, Shade, density_to_alpha
from nerfcomp.fields.encodings import HashGrid, SphericalHarmonics
from nerfcomp.fields.mlp import MLP
from nerfcomp.fields.tcnn import TcnnTwin
from nerfcomp.kernels.backends import Backend

_FINEST = 1024  # cells across the innermost cube


class NGPField(RadianceField):
    """Hash grid and two small MLPs.

    The density MLP's first output is the log density per *unit*, the width of the innermost cascade of the cube. All
    its outputs, that logit included, and the spherical harmonics of the direction feed the colour MLP.

    Args:
        levels: Levels of the hash grid.
        features: Features per entry.
        log2_table_size: Largest table, as a power of two.
        base_resolution: Cells across the cube on the coarsest level.
        finest_resolution: Cells across the cube on the finest level; when absent 1024 across the innermost nested cube,
            which is 2048 times the scale in ngp_pl.
        hidden_width: Width of the hidden layers of both MLPs.
        density_hidden_layers: Hidden layers of the density MLP.
        rgb_hidden_layers: Hidden layers of the colour MLP.
        geometry_features: Outputs of the density MLP.
        sh_degree: Degree of the spherical harmonics, 1 to 4.
        cascades: Nested cubes of the scene; the cube is ``2 ** (cascades - 1)`` units wide. When absent, those of the
            scene that it is trained on.
        rounding: How the growth per level is rounded: ``float32`` or ``float64`` (tiny-cuda-nn built either way).
        backend: Kernel that reads the grid: ``auto``, ``torch``, ``numba`` or ``triton``, which also runs the networks;
            or ``tcnn``, which runs all in half precision, where tinycudann can be imported.

    Raises:
        ValueError: An argument outside its range, or one that the backend does not take.
        MissingExtraError: The backend is ``tcnn`` and tinycudann cannot be imported.
    """

    def __init__(
        self,
        levels: int = 16,
        features: int = 2,
        log2_table_size: int = 19,
        base_resolution: int = 16,
        finest_resolution: int | None = None,
        hidden_width: int = 64,
        density_hidden_layers: int = 1,
        rgb_hidden_layers: int = 2,
        geometry_features: int = 16,
        sh_degree: int = 4,
        cascades: int | None = None,
        rounding: Literal["float32", "float64"] = "float32",
        backend: Literal["auto", "torch", "numba", "triton", "tcnn"] = "auto",
    ) -> None:
        super().__init__()
        require_between(1, 64, levels=levels)
        require_between(1, 16, features=features)
        require_between(1, 1024, hidden_width=hidden_width)
        require_between(0, 16, density_hidden_layers=density_hidden_layers, rgb_hidden_layers=rgb_hidden_layers)
        require_between(1, 256, geometry_features=geometry_features)
        require_between(1, 8, cascades=cascades)
        self.arguments = own_arguments(locals(), "backend")
        self._told = cascades, finest_resolution
        self._reader: Backend = "auto" if backend == "tcnn" else backend
        self._twin: TcnnTwin | None = None
        self.set_cascades(1)
        self.directions = SphericalHarmonics(sh_degree)
        layers: Backend = "torch" if backend == "torch" else "auto"
        hidden = [hidden_width] * density_hidden_layers
        self.density_mlp = MLP([levels * features, *hidden, geometry_features], backend=layers)
        hidden, parts = [hidden_width] * rgb_hidden_layers, [sh_degree**2, geometry_features]
        self.rgb_mlp = MLP([sum(parts), *hidden, 3], parts, layers)
        if backend == "tcnn":
            self._twin = TcnnTwin(self.arguments)

    def set_cascades(self, cascades: int) -> None:
        """Take over the scene's number of nested cubes, with a new grid if its resolution follows from them."""
        own, finest = self._told
        self.cascades = own or cascades
        resolution = finest or _FINEST * 2 ** (self.cascades - 1)
        if not hasattr(self, "grid") or resolution != self.arguments["finest_resolution"]:
            known = self.arguments
            levels, features, rows = (known[key] for key in ("levels", "features", "log2_table_size"))
            base, rounding = known["base_resolution"], known["rounding"]
            grid = HashGrid(levels, features, rows, base, resolution, rounding, self._reader)
            self.grid = grid.to(self.aabb.device)
        self.arguments |= {"cascades": self.cascades, "finest_resolution": resolution}
        if self._twin is not None:
            self._twin = TcnnTwin(self.arguments)

    @property
    def unit(self) -> Tensor:
        """Length, in the units of ``x``, in which the network expresses density."""
        return (self.aabb[1, 0] - self.aabb[0, 0]) / 2.0 ** (self.cascades - 1)

    def _geometry(self, x: Tensor) -> Tensor:
        if self._twin is not None:
            return self._twin.geometry(self.to_unit(x), self.density_mlp.matrices, self.grid.tables)
        out: Tensor = self.density_mlp(self.grid(self.to_unit(x)))
        return out

    def _rgb(self, d: Tensor, geometry: Tensor) -> Tensor:
        inputs = torch.cat([self.directions(d), geometry], dim=1)
        logits = self.rgb_mlp(inputs) if self._twin is None else self._twin.rgb(inputs, self.rgb_mlp.matrices)
        return color_activation(logits, self.training)

    def read_rows(self, occupied: Tensor) -> dict[str, Tensor]:
        """Rows of the tables that occupied cells read; see `RadianceField.read_rows`."""
        return {f"grid.{name}": rows for name, rows in self.grid.read_rows(occupied).items()}

    def density(self, x: Tensor) -> Tensor:
        """Density (M,), per unit length of ``x``, at positions (M, 3)."""
        if self._twin is not None:
            return truncated_exp(self._geometry(x)[:, 0]) / self.unit
        return truncated_exp(self.density_mlp.first_output(self.grid(self.to_unit(x)))) / self.unit

    def shade(self, x: Tensor, d: Tensor, dt: Tensor) -> Shade:
        """Opacity and colour of samples at positions (M, 3), seen along unit (M, 3), of length (M,)."""
        geometry = self._geometry(x)
        alpha = density_to_alpha(truncated_exp(geometry[:, 0]), dt / self.unit)
        return Shade(alpha, self._rgb(d, geometry))
