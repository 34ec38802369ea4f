"""What every field offers to samplers and renderers.

Notation: ``x`` is a position in the marched space (world units, or NDC for forward-facing scenes), ``d`` a unit viewing
direction in world axes, ``dt`` the length of a sample's interval, ``M`` the number of samples.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class Shade(NamedTuple):
    """What a radiance field says about ``M`` samples."""

    alpha: Tensor  # (M,) opacity of the interval, in [0, 1]
    rgb: Tensor  # (M, 3) in [0, 1]
    normals: Tensor | None = None  # (M, 3) unit, fields with a surface only


class Field(nn.Module):
    """A network over one axis-aligned cube.

    A subclass keeps its constructor arguments in ``arguments`` (plain JSON values), so that a checkpoint or a bitstream
    can rebuild it from its class path alone.

    Attributes:
        aabb: (2, 3) minimum and maximum corner of the cube, in the units of ``x``. Set from the scene before training.
        arguments: Constructor arguments as JSON values.
    """

    aabb: Tensor
    arguments: dict[str, Any]

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("aabb", torch.tensor([[-1.5, -1.5, -1.5], [1.5, 1.5, 1.5]]))
        self.arguments = {}

    def set_aabb(self, aabb: Tensor) -> None:
        """Move the field into the cube ``aabb`` (2, 3).

        Raises:
            ValueError: The corners are not finite or not in order.
        """
        if aabb.shape != (2, 3) or not bool(torch.isfinite(aabb).all()) or bool((aabb[1] <= aabb[0]).any()):
            raise ValueError(f"The scene box must be two finite corners, min < max, got {aabb.tolist()}.")
        self.aabb.copy_(aabb)

    def picture_values(self, pixels: int) -> int:
        """Most numbers that a picture of so many pixels needs at a time; 0 where pictures are drawn in parts."""
        return 0

    def set_cascades(self, cascades: int) -> None:
        """Take over the number of nested cubes of the scene, where a field has them and was not told otherwise."""

    def to_unit(self, x: Tensor) -> Tensor:
        """Map positions (M, 3) from the cube to [0, 1]^3; positions outside are clamped to its faces."""
        return ((x - self.aabb[0]) / (self.aabb[1] - self.aabb[0])).clamp(0.0, 1.0)


class RadianceField(Field):
    """Density and colour inside the cube.

    Attributes:
        deep: The layers are fully connected and many, so that errors as large as the weights of one silence all.
    """

    deep = False

    def density(self, x: Tensor) -> Tensor:
        """Density (M,), per unit length of ``x``, at positions (M, 3)."""
        raise TypeError(f"{type(self).__name__} does not say its density.")

    def alpha(self, x: Tensor, d: Tensor, dt: Tensor) -> Tensor:
        """Opacity (M,) in [0, 1] of samples; arguments of `shade`, of whose answer it is the cheaper part."""
        return density_to_alpha(self.density(x), dt)

    def peak_alpha(self, x: Tensor, dt: Tensor) -> Tensor:
        """Largest opacity (M,), over all directions, of intervals of length (M,) about positions (M, 3)."""
        return density_to_alpha(self.density(x), dt)

    def coarse_alpha(self, x: Tensor, d: Tensor, dt: Tensor) -> Tensor:
        """Opacity (M,) that steers the sampling; that of the picture unless a field has a coarser one."""
        return self.alpha(x, d, dt)

    def coarse_peak_alpha(self, x: Tensor, dt: Tensor) -> Tensor:
        """`peak_alpha` of the opacity that steers the sampling."""
        return self.peak_alpha(x, dt)

    def coarse_shade(self, x: Tensor, d: Tensor, dt: Tensor) -> Shade:
        """`shade` of the network that steers the sampling; that of the picture unless a field has a coarser one."""
        return self.shade(x, d, dt)

    def steers(self, name: str) -> bool:
        """Whether the parameter of this name says only where the field is evaluated, and is not seen in the picture."""
        return False

    def read_rows(self, occupied: Tensor) -> dict[str, Tensor]:
        """Rows of weights that pictures read while only occupied cells of the cube are sampled.

        Args:
            occupied: (C, R, R, R) bool, see `nerfcomp.rendering.occupancy`.

        Returns:
            (rows,) bool by the names of the weights, of which the other rows need no value; all others are read whole.
        """
        return {}

    def solidity(self, x: Tensor) -> Tensor:
        """What grows (M,) from outside to inside at positions (M, 3): a surface is where it has one value."""
        return self.density(x)

    def surface_level(self) -> float:
        """Value of `solidity` at the surface, unless a person chooses another one.

        Of densities: that of which a hundredth of the box's width lets half of the light through.
        """
        return math.log(2.0) * 100 / float((self.aabb[1] - self.aabb[0]).max())

    @property
    def surface_box(self) -> Tensor:
        """(2, 3) corners of the box in which surfaces are looked for."""
        return self.aabb

    def steepest(self) -> float | None:
        """Most that `solidity` changes per unit of length; unknown of densities."""
        return None

    def shade(self, x: Tensor, d: Tensor, dt: Tensor) -> Shade:
        """Opacity and colour of samples at positions (M, 3), seen along (M, 3), of length (M,)."""
        raise TypeError(f"{type(self).__name__} does not say its colour.")


def density_to_alpha(density: Tensor, dt: Tensor) -> Tensor:
    """Opacity of intervals of constant density: ``1 - exp(-density * dt)`` (NeRF, Mildenhall et al. 2020, eq. 3).

    Args:
        density: (M,) per unit length, >= 0.
        dt: (M,) interval lengths.

    Returns:
        (M,) in [0, 1].

    >>> density_to_alpha(torch.tensor([0.0, 0.6931472]), torch.tensor([1.0, 1.0])).tolist()
    [0.0, 0.5]
    """
    return -torch.expm1(-density * dt)
