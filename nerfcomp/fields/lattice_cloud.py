"""Values on a lattice as a coloured cloud: what direct volume rendering shows of a scalar volume.

Notation: ``x`` is a position in the cube [-1, 1]^3, whose longest axis the lattice spans; values are normalised to
[-1, 1]; ``d`` a unit viewing direction.
"""

import torch
from torch import Tensor
from torch.nn import functional

from nerfcomp.fields.base import RadianceField, Shade, density_to_alpha

_DEPTH = 1.5  # mean optical depth of the whole cloud along an axis
_BINS = 64
_AMBIENT = 0.35  # of the light; the rest comes from the camera
_EVEN = 0.05  # slopes below this part of the steepest are lit from everywhere


class LatticeCloud(RadianceField):
    """Emission and absorption over a lattice (Max, "Optical Models for Direct Volume Rendering", 1995, section 5).

    The most frequent value is empty space. Density grows with the square of the distance to it, so that the whole
    absorbs about as much whatever the volume; colour follows the value, lit from the camera where there are slopes.

    Args:
        values: (X, Y, Z) normalised values, at least one of each axis.
        extent: Half the width of the lattice along each axis, at most 1.
        colors: (K, 3) colours in [0, 1] from the lowest value to the highest.
    """

    lattice: Tensor
    extent: Tensor
    colors: Tensor

    def __init__(self, values: Tensor, extent: tuple[float, float, float], colors: Tensor) -> None:
        super().__init__()
        self.set_aabb(torch.tensor([[-1.0] * 3, [1.0] * 3]))
        size = torch.tensor(extent)
        steps = 2.0 * size / (torch.tensor(values.shape) - 1).clamp(min=1)
        slopes = [_slopes(values, axis, float(step)) for axis, step in enumerate(steps)]
        lattice = torch.stack([values, *slopes])[None]
        self.register_buffer("lattice", lattice.contiguous(memory_format=torch.channels_last_3d))  # one look-up of four
        self.register_buffer("extent", size.clamp(min=1e-3))
        self.register_buffer("colors", colors)
        self.empty = _most_frequent(values)
        self.steepest_slope = float(self.lattice[0, 1:].square().sum(0).max().sqrt())
        self.strength = _DEPTH / (2.0 * max(float(self._distance(values).mean()), 1e-6))

    def density(self, x: Tensor) -> Tensor:
        """Density (M,) at positions (M, 3); 0 outside the lattice."""
        return self._density(x, self._look_up(x)[0])

    def shade(self, x: Tensor, d: Tensor, dt: Tensor) -> Shade:
        """Opacity, colour and the direction in which values fall, of samples; see the base class."""
        value, *slopes = self._look_up(x)
        slope = torch.stack(slopes, -1)
        length = slope.norm(dim=-1, keepdim=True)
        normals = -slope / length.clamp(min=1e-9)
        facing = (normals * d).sum(-1, keepdim=True).abs()
        even = _EVEN * self.steepest_slope / (length + _EVEN * self.steepest_slope + 1e-9)
        light = _AMBIENT + (1 - _AMBIENT) * (facing + (1 - facing) * even)
        index = ((value * 0.5 + 0.5).clamp(0, 1) * (len(self.colors) - 1)).round().long()
        return Shade(density_to_alpha(self._density(x, value), dt), self.colors[index] * light, normals)

    def occupancy(self, resolution: int) -> Tensor:
        """Cells (1, R, R, R) of the cube that hold, or touch one that holds, a voxel of some density.

        Args:
            resolution: R, cells along an axis, no more than the lattice has voxels along its longest.
        """
        dense = (self._distance(self.lattice[0, 0]) * self.strength > 1e-3).nonzero()
        index = dense / (torch.tensor(self.lattice.shape[2:], device=dense.device) - 1).clamp(min=1)
        cells = (((2.0 * index - 1.0) * self.extent * 0.5 + 0.5) * resolution).long().clamp(0, resolution - 1)
        found = torch.zeros(1, resolution, resolution, resolution, device=dense.device)
        found[0, cells[:, 0], cells[:, 1], cells[:, 2]] = 1.0
        return functional.max_pool3d(found, 3, stride=1, padding=1) > 0

    def _distance(self, value: Tensor) -> Tensor:
        return ((value - self.empty) * 0.5).square()

    def _density(self, x: Tensor, value: Tensor) -> Tensor:
        inside = (x.abs() <= self.extent * (1 + 1e-6)).all(-1)
        return self.strength * self._distance(value) * inside

    def _look_up(self, x: Tensor) -> Tensor:
        """Value and slopes (4, M) at positions (M, 3), interpolated."""
        places = (x / self.extent).flip(-1)[None, None, None]
        found = functional.grid_sample(self.lattice, places, align_corners=True, padding_mode="border")
        return found[0, :, 0, 0]


def _most_frequent(values: Tensor) -> float:
    """Mean of the values in the fullest of equal ranges."""
    index = ((values * 0.5 + 0.5) * _BINS).long().clamp(0, _BINS - 1)
    fullest = torch.bincount(index.flatten(), minlength=_BINS).argmax()
    return float(values[index == fullest].mean())


def _slopes(values: Tensor, axis: int, step: float) -> Tensor:
    """Differences of neighbours per unit of ``x`` along an axis."""
    if values.shape[axis] < 2:
        return torch.zeros_like(values)
    slopes: Tensor = torch.gradient(values, spacing=max(step, 1e-9), dim=axis)[0]
    return slopes
