"""What fields with a surface share: a signed distance, the opacity that follows from it, and normals.

Notation: ``f`` is the signed distance at the middle of an interval of length ``dt``, positive outside, in the units of
``x``; ``cos`` its slope along the ray; ``s`` the sharpness ``inv_s`` of the logistic distribution around the surface.
Source: Wang et al., "NeuS: Learning Neural Implicit Surfaces by Volume Rendering" (2021), eq. 13, and its code.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from nerfcomp.fields.base import RadianceField
from nerfcomp.fields.outside import Outside

_SMALL = 1e-5  # of the published code: keeps the quotient of two vanishing numbers at 1, deep inside
_REACH = 1.5 * math.sqrt(3) / 128  # 3/2 of half a diagonal of a cell of the usual occupancy grid, in half widths


class Geometry(NamedTuple):
    """What a surface field says about M positions.

    Attributes:
        sdf: (M,) signed distance.
        gradients: (M, 3) its gradient, of unit length where it is a distance.
        features: (M, G) for the colour.
        laplacian: (M,) sum of its second derivatives, where normals are differences.
    """

    sdf: Tensor
    gradients: Tensor
    features: Tensor
    laplacian: Tensor | None = None


class SurfaceShade(NamedTuple):
    """What a surface field says about M samples; more than `nerfcomp.fields.base.Shade`.

    Attributes:
        alpha: (M,) opacity of the interval.
        rgb: (M, 3) in [0, 1].
        normals: (M, 3) unit, outward.
        geometry: What losses on the surface need.
    """

    alpha: Tensor
    rgb: Tensor
    normals: Tensor
    geometry: Geometry


class SurfaceField(RadianceField):
    """A signed distance and colours inside the cube.

    Where a scene has surroundings, the surface lies in the sphere within the innermost of its nested cubes, and what is
    beyond that sphere is said by a density: each sample asks the one or the other, and compositing is the same for all.

    Attributes:
        annealed: Share ``r`` in [0, 1] of the true slope in the opacity; below 1 while training, so that gradients also
            reach surfaces that look away.
        cascades: Nested cubes of the scene; 1 where nothing is said of surroundings.
        outside: What says them, or none.
    """

    annealed = 1.0
    cascades = 1

    def __init__(self) -> None:
        super().__init__()
        self.outside: Outside | None = None

    @property
    def inv_s(self) -> Tensor:
        """(1,) sharpness, per unit of length of ``x``."""
        raise TypeError(f"{type(self).__name__} does not say its sharpness.")

    @property
    def half_side(self) -> Tensor:
        """Half the width of the cube in which the surface lies."""
        half: Tensor = (self.aabb[1, 0] - self.aabb[0, 0]) / 2**self.cascades
        return half

    @property
    def surface_box(self) -> Tensor:
        """(2, 3) corners of the cube in which the surface lies."""
        return self.aabb.mean(0) + self.half_side * self.aabb.new_tensor([[-1.0], [1.0]])

    def to_sphere(self, x: Tensor) -> Tensor:
        """Positions (M, 3) in the cube of the surface as [-1, 1]^3, in which there is the unit sphere."""
        return (x - self.aabb.mean(0)) / self.half_side

    def radius(self, x: Tensor) -> Tensor:
        """Distance (M,) of positions (M, 3) from the middle, in half widths."""
        distance: Tensor = torch.linalg.vector_norm(self.to_sphere(x), dim=1)
        return distance

    def set_sharpness(self, value: float) -> None:
        """Make the sharpness ``exp(value)`` per half width of the cube."""
        raise TypeError(f"{type(self).__name__} does not say its sharpness.")

    def sdf(self, x: Tensor) -> Tensor:
        """Signed distance (M,) at positions (M, 3), positive outside."""
        raise TypeError(f"{type(self).__name__} does not say its distance.")

    def geometry(self, x: Tensor) -> Geometry:
        """Distance, gradient and features at positions (M, 3)."""
        raise TypeError(f"{type(self).__name__} does not say its geometry.")

    def color(self, x: Tensor, d: Tensor, geometry: Geometry) -> Tensor:
        """Colours (M, 3) of positions (M, 3), seen along (M, 3)."""
        raise TypeError(f"{type(self).__name__} does not say its colour.")

    def set_progress(self, active_levels: int | None = None, annealed: float = 1.0) -> None:
        """Tell how far training is; a description of the field keeps it.

        Args:
            active_levels: Levels of an encoding that are in use; all when absent.
            annealed: See the class.
        """
        self.annealed = annealed
        self.arguments["annealed"] = annealed

    @property
    def level_count(self) -> int:
        """Levels that can come in one after the other; 1 where there are none."""
        return 1

    @property
    def detail(self) -> float:
        """Coarsest over present step of normals, at most 1: curvature counts less as detail comes in."""
        return 1.0

    def folded(self) -> "SurfaceField":
        """The same field with plain weights, as they are coded."""
        return self

    def alpha(self, x: Tensor, d: Tensor, dt: Tensor) -> Tensor:
        """Opacity (M,) of intervals, from the distances at both of their ends, without a normal."""
        half = d * (dt / 2).unsqueeze(1)
        before, after = self.sdf(torch.cat([x - half, x + half])).chunk(2)
        return self.alpha_between(before, after, dt, x)

    def alpha_between(self, before: Tensor, after: Tensor, dt: Tensor, x: Tensor) -> Tensor:
        """Opacity (M,) of intervals of length (M,) about (M, 3) from the distances at both of their ends."""
        found = section_alpha((before + after) / 2, (after - before) / dt, dt, self.inv_s, self.annealed)
        if self.outside is None:
            return found
        beyond = (self.radius(x) >= 1).nonzero().squeeze(1)
        return found.index_copy(0, beyond, self._outside_alpha(x[beyond], dt[beyond]))

    def _outside_alpha(self, x: Tensor, dt: Tensor) -> Tensor:
        assert self.outside is not None, "has surroundings"
        return self.outside.alpha(self.to_sphere(x), dt / self.half_side)

    def peak_alpha(self, x: Tensor, dt: Tensor) -> Tensor:
        """Largest weight (M,), over all directions, of intervals (M,) anywhere in a cell of the grid at (M, 3).

        Light reaches the inside of a surface only through the surface, which leaves ``sigmoid(f s)`` of it: far inside
        the opacity is 1, and yet there is nothing to see.
        """
        if self.outside is None:
            return self._peak_weight(x, dt)
        radius, found = self.radius(x), []
        for rows, peak in ((radius <= 1 + _REACH, self._peak_weight), (radius >= 1 - _REACH, self._outside_alpha)):
            chosen = rows.nonzero().squeeze(1)
            found.append(x.new_zeros(len(x)).index_copy(0, chosen, peak(x[chosen], dt[chosen])))
        return torch.maximum(*found)

    def _peak_weight(self, x: Tensor, dt: Tensor) -> Tensor:
        distance = self.sdf(x)
        nearest = distance.sign() * (distance.abs() - _REACH * self.half_side).clamp(min=0.0)
        before, after = (torch.sigmoid((nearest + side * dt) * self.inv_s) for side in (0.5, -0.5))
        return before - after

    def solidity(self, x: Tensor) -> Tensor:
        """Minus the signed distance; beyond the sphere of a scene with surroundings nothing is solid."""
        distance = self.sdf(x)
        if self.outside is not None:
            distance = torch.maximum(distance, (self.radius(x) - 1) * self.half_side)
        return -distance

    def surface_level(self) -> float:
        """The surface is at distance 0."""
        return 0.0

    def steepest(self) -> float | None:
        """Distances have slope 1; learned ones are rarely twice as steep."""
        return 2.0

    def shade(self, x: Tensor, d: Tensor, dt: Tensor) -> SurfaceShade:  # type: ignore[override]
        """Opacity, colour, normal and geometry of samples at (M, 3), seen along unit (M, 3), of length (M,).

        Geometry is that of the samples that a surface speaks for, all of them unless the scene has surroundings.
        """
        if self.outside is None:
            return self._surface_shade(x, d, dt)
        inside = self.radius(x) < 1
        within, beyond = inside.nonzero().squeeze(1), (~inside).nonzero().squeeze(1)
        own = self._surface_shade(x[within], d[within], dt[within])
        other = self.outside.shade(self.to_sphere(x[beyond]), d[beyond], dt[beyond] / self.half_side)

        def joined(values: Tensor, others: Tensor) -> Tensor:
            empty = values.new_zeros(len(x), *values.shape[1:])
            return empty.index_copy(0, within, values).index_copy(0, beyond, others.to(values.dtype))

        nothing = other.rgb.new_zeros(len(beyond), 3)
        return SurfaceShade(
            joined(own.alpha, other.alpha), joined(own.rgb, other.rgb), joined(own.normals, nothing), own.geometry
        )

    def _surface_shade(self, x: Tensor, d: Tensor, dt: Tensor) -> SurfaceShade:
        geometry = self.geometry(x)
        slope = (d * geometry.gradients).sum(1)
        alpha = section_alpha(geometry.sdf, slope, dt, self.inv_s, self.annealed)
        return SurfaceShade(alpha, self.color(x, d, geometry), normalize(geometry.gradients, dim=1), geometry)


def section_alpha(sdf: Tensor, slope: Tensor, dt: Tensor, inv_s: Tensor, annealed: float = 1.0) -> Tensor:
    """Opacity of a section of a ray from the distances at both of its ends, which follow from middle and slope.

    The slope is ``-relu(-cos)``, and where training has not got so far (``annealed`` below 1) partly
    ``-relu(1 / 2 - cos / 2)``.

    Args:
        sdf: (M,) at the middle.
        slope: (M,) along the ray, in [-1, 1] where ``sdf`` is a distance.
        dt: (M,) length.
        inv_s: (1,) sharpness.
        annealed: In [0, 1].

    Returns:
        (M,) in [0, 1].

    >>> sdf, slope, length = torch.tensor([0.0, -1.0]), torch.tensor([-1.0, -1.0]), torch.full((2,), 0.2)
    >>> section_alpha(sdf, slope, length, torch.tensor([64.0]))
    tensor([0.9983, 1.0000])
    """
    falling = -torch.relu(-slope)
    if annealed < 1.0:
        falling = falling * annealed - torch.relu(0.5 - 0.5 * slope) * (1.0 - annealed)
    step = falling * dt / 2
    before, after = torch.sigmoid((sdf - step) * inv_s), torch.sigmoid((sdf + step) * inv_s)
    return ((before - after + _SMALL) / (before + _SMALL)).clamp(0.0, 1.0)
