"""A signed distance on a hash grid whose levels come in one after the other, with normals from differences.

Sources: Li et al., "Neuralangelo" (2023), for levels, normals and curvature; Atzmon and Lipman, "SAL" (2020), for the
initial sphere. The true gradient of a hash grid jumps at the borders of cells and makes holes; differences do not.
"""

import math
from typing import Literal, cast

import torch
from torch import Tensor, nn

from nerfcomp.descriptions import own_arguments, require_between
from nerfcomp.fields.activations import color_activation
from nerfcomp.fields.encodings import HashGrid, SphericalHarmonics
from nerfcomp.fields.mlp import MLP
from nerfcomp.fields.surface import Geometry, SurfaceField
from nerfcomp.kernels.backends import Backend
from nerfcomp.kernels.hash_grid import GridGeometry, hash_encode
from nerfcomp.kernels.softplus import softplus

_BETA = 100.0
_TETRAHEDRON = ((1.0, -1.0, -1.0), (-1.0, -1.0, 1.0), (-1.0, 1.0, -1.0), (1.0, 1.0, 1.0))


class HashSurfaceField(SurfaceField):
    """Position and hash grid -> distance and features; features, normal and direction -> colour.

    Args:
        levels: Levels of the hash grid.
        features: Features per entry.
        log2_table_size: Largest table, as a power of two.
        base_resolution: Cells across the cube on the coarsest level.
        finest_resolution: Cells across the cube on the finest level.
        hidden_width: Width of hidden layers.
        sdf_hidden_layers: Hidden layers of the distance, at least 1.
        rgb_hidden_layers: Hidden layers of the colour.
        geometry_features: Features that the colour sees.
        sh_degree: Degree of the spherical harmonics of the direction, 1 to 4.
        sphere_radius: Radius of the initial surface, in half widths of the cube.
        active_levels: Levels in use; all when absent.
        annealed: See `SurfaceField`.
        backend: Kernel that reads the grid: ``auto``, ``torch``, ``numba`` or ``triton``.

    Raises:
        ValueError: An argument outside its range.
    """

    corners: Tensor

    def __init__(
        self,
        levels: int = 14,
        features: int = 2,
        log2_table_size: int = 18,
        base_resolution: int = 16,
        finest_resolution: int = 1024,
        hidden_width: int = 64,
        sdf_hidden_layers: int = 1,
        rgb_hidden_layers: int = 2,
        geometry_features: int = 15,
        sh_degree: int = 3,
        sphere_radius: float = 0.5,
        active_levels: int | None = None,
        annealed: float = 1.0,
        backend: Backend = "auto",
    ) -> None:
        super().__init__()
        _check(levels=(levels, 1, 32), features=(features, 1, 16), hidden_width=(hidden_width, 1, 1024))
        _check(sdf_hidden_layers=(sdf_hidden_layers, 1, 8), rgb_hidden_layers=(rgb_hidden_layers, 0, 8))
        _check(geometry_features=(geometry_features, 1, 256), sphere_radius=(sphere_radius, 0.0, 1.0))
        self.arguments = own_arguments(locals(), "backend")
        self.grid = HashGrid(levels, features, log2_table_size, base_resolution, finest_resolution, backend=backend)
        widths = [3 + levels * features, *[hidden_width] * sdf_hidden_layers, 1 + geometry_features]
        self.sdf_layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths[:-1], widths[1:]))
        self._make_sphere(sphere_radius)
        self.register_buffer("corners", torch.tensor(_TETRAHEDRON), persistent=False)
        self.directions = SphericalHarmonics(sh_degree)
        inputs = sh_degree**2 + 3 + geometry_features
        self.rgb_mlp = MLP([inputs, *[hidden_width] * rgb_hidden_layers, 3])
        self.sharpness = nn.Parameter(torch.full((1,), 3.0))
        self.set_progress(active_levels, annealed)

    @torch.no_grad()
    def _make_sphere(self, radius: float) -> None:
        *hidden, last = self._linear
        for layer in hidden:
            nn.init.normal_(layer.weight, 0.0, math.sqrt(2 / layer.out_features))
            nn.init.zeros_(layer.bias)
        hidden[0].weight[:, 3:] = 0.0
        mean = math.sqrt(math.pi / last.in_features)
        nn.init.normal_(last.weight[:1], mean, 1e-4)
        nn.init.constant_(last.bias[:1], -radius)

    @property
    def _linear(self) -> list[nn.Linear]:
        return [cast(nn.Linear, layer) for layer in self.sdf_layers]

    @property
    def inv_s(self) -> Tensor:
        """(1,) sharpness: ``exp(sharpness)`` per half width of the cube."""
        return self.sharpness.clamp(max=12.0).exp() / self.half_side

    @torch.no_grad()
    def set_sharpness(self, value: float) -> None:
        """Make the sharpness ``exp(value)`` per half width of the cube."""
        self.sharpness.fill_(value)

    def set_progress(self, active_levels: int | None = None, annealed: float = 1.0) -> None:
        """Use some levels only; normals are differences over a cell of the finest of them."""
        super().set_progress(active_levels, annealed)
        scales = self.grid.geometry.scales
        if active_levels is not None and not 1 <= active_levels <= len(scales):
            raise ValueError(f"{active_levels} active levels are not possible; the grid has {len(scales)}.")
        self.active_levels = active_levels or len(scales)
        self.arguments["active_levels"] = active_levels

    @property
    def level_count(self) -> int:
        """Levels of the grid."""
        return len(self.grid.levels)

    @property
    def normal_step(self) -> float:
        """Distance from a position to where the differences of its normal are taken, in widths of the cube."""
        return 1.0 / self.grid.geometry.scales[self.active_levels - 1]

    @property
    def detail(self) -> float:
        """Part that is left of the step of the coarsest level."""
        return self.normal_step * self.grid.geometry.scales[0]

    @property
    def plain(self) -> Literal["auto", "torch"]:
        """Backend of what is not the grid."""
        return "torch" if self.grid.backend == "torch" else "auto"

    def _hidden(self, x: Tensor) -> Tensor:
        """Last hidden values (M, hidden_width)."""
        unit, n = self.to_unit(x), self.active_levels
        scales, resolutions, entries = self.grid.geometry
        geometry = GridGeometry(scales[:n], resolutions[:n], entries[:n])
        encoded = hash_encode(unit, self.grid.tables[:n], geometry, self.grid.backend)
        first, *others = self._linear[:-1]
        weight = first.weight
        straight = torch.addmm(first.bias, 2 * unit - 1, weight[:, :3].T)
        hidden = softplus(torch.addmm(straight, encoded, weight[:, 3 : 3 + encoded.shape[1]].T), _BETA, self.plain)
        for layer in others:
            hidden = softplus(layer(hidden), _BETA, self.plain)
        return hidden

    def _distance(self, hidden: Tensor) -> Tensor:
        weight, bias = self._linear[-1].weight, self._linear[-1].bias
        return (hidden @ weight[0] + bias[0]) * self.half_side

    def sdf(self, x: Tensor) -> Tensor:
        """Signed distance (M,) at positions (M, 3), positive outside."""
        return self._distance(self._hidden(x))

    def geometry(self, x: Tensor) -> Geometry:
        """Distance, gradient, features and Laplacian: differences over the corners of a tetrahedron."""
        leg = self.normal_step * 2 * self.half_side / math.sqrt(3)
        corners = self.corners.to(x.dtype)
        points = torch.cat([x, (x + leg * corners.unsqueeze(1)).flatten(0, 1)])
        hidden = self._hidden(points)
        middle, around = hidden[: len(x)], self._distance(hidden[len(x) :]).view(4, -1)
        gradients = torch.einsum("cm,cd->md", around, corners) / (4 * leg)
        out = self.sdf_layers[-1](middle)
        sdf = out[:, 0] * self.half_side
        laplacian = (around.sum(0) - 4 * sdf) / (2 * leg**2)
        return Geometry(sdf, gradients, out[:, 1:], laplacian)

    def color(self, x: Tensor, d: Tensor, geometry: Geometry) -> Tensor:
        """Colours (M, 3) from features, unit normal and direction."""
        normals = torch.nn.functional.normalize(geometry.gradients, dim=1)
        logits = self.rgb_mlp(torch.cat([self.directions(d), normals, geometry.features], 1))
        return color_activation(logits, self.training)


def _check(**ranges: tuple[float, float, float]) -> None:
    for name, (value, least, most) in ranges.items():
        require_between(least, most, **{name: value})
