"""New views of a scene, like the known ones: where a teacher draws pictures.

Notation: ``V`` known poses (camera to world); pose ``i`` of a source depends on the known poses, the seed and ``i``
alone, so that any number of processes draw the same ones and a stopped run goes on with them.
"""

import math
from abc import ABC, abstractmethod

import numpy as np
import torch
from torch import Tensor

from nerfcomp.errors import SettingsError
from nerfcomp.geometry.paths import look_at
from nerfcomp.readers.alignment import focus_point

_UP = (0.0, 0.0, 1.0)
Range = tuple[float, float]


class PoseSource(ABC):
    """Draws poses."""

    @abstractmethod
    def draw(self, known: Tensor, generator: np.random.Generator) -> Tensor:
        """Draw one pose.

        Args:
            known: (V, 3, 4) float64 poses that show the scene.
            generator: Source of randomness.

        Returns:
            (3, 4) float64.

        Raises:
            ValueError: The known poses do not say what the source needs.
        """

    def pose(self, known: Tensor, seed: int, index: int) -> Tensor:
        """Pose ``index`` of the sequence that ``seed`` names: (3, 4) float32, rigid."""
        return self.draw(known.double(), np.random.default_rng((seed, index))).float()


class SphericalPoses(PoseSource):
    """Around an object, z up, looking at its middle: evenly spread over a band of a sphere, all the way round.

    What is not given is taken from the known poses: the point that they look at (the origin where they look at none),
    the least and greatest distance from it, the least and greatest elevation.

    Args:
        radius: Least and greatest distance, world units.
        elevation: Least and greatest angle above the horizontal plane, in degrees from -90 to 90.

    Raises:
        ValueError: A range that is empty or impossible.
    """

    def __init__(self, radius: Range | None = None, elevation: Range | None = None) -> None:
        if radius is not None and not 0 < radius[0] <= radius[1] < math.inf:
            raise ValueError(
                f"SphericalPoses cannot stand at radius {radius}; give two numbers, 0 < least <= greatest."
            )
        if elevation is not None and not -90 <= elevation[0] <= elevation[1] <= 90:
            raise ValueError(f"SphericalPoses cannot use elevation {elevation}; give -90 <= least <= greatest <= 90.")
        self.radius = radius
        self.elevation = elevation

    def draw(self, known: Tensor, generator: np.random.Generator) -> Tensor:
        """Draw one pose; see :meth:`PoseSource.draw`."""
        if len(known) < 2 and (self.radius is None or self.elevation is None):
            raise SettingsError(
                "SphericalPoses takes its ranges from the known poses, but only one is known (a .nfc file keeps one). "
                "Name the scene with a reader, or give radius and elevation."
            )
        center = focus_point(known) if len(known) > 1 else None
        center = known.new_zeros(3) if center is None else center
        offset = known[:, :, 3] - center
        distance = offset.norm(dim=-1)
        sines = (offset[:, 2] / distance.clamp_min(1e-9)).clamp(-1, 1)
        near, far = self.radius or (float(distance.min()), float(distance.max()))
        low, high = float(sines.min()), float(sines.max())
        if self.elevation is not None:
            low, high = (math.sin(math.radians(angle)) for angle in self.elevation)
        azimuth, height, r = generator.uniform((0.0, low, near), (2 * math.pi, high, far)).tolist()
        across = math.sqrt(max(0.0, 1 - height**2))
        direction = known.new_tensor([across * math.cos(azimuth), across * math.sin(azimuth), height])
        return look_at(center + r * direction, center, center.new_tensor(_UP))


class CameraBoxPoses(PoseSource):
    """In front of a scene: camera centres and viewing directions uniform in the boxes that hold the known ones.

    Args:
        margin: Both boxes are enlarged by this factor along each axis, about their middles.

    Raises:
        ValueError: A negative margin.
    """

    def __init__(self, margin: float = 1.1) -> None:
        if not 0 <= margin < math.inf:
            raise ValueError(f"CameraBoxPoses cannot enlarge boxes by {margin}; give a number from 0 on.")
        self.margin = margin

    def draw(self, known: Tensor, generator: np.random.Generator) -> Tensor:
        """Draw one pose; see :meth:`PoseSource.draw`."""
        origin, back = (self._inside(known[:, :, axis], generator) for axis in (3, 2))
        return look_at(origin, origin - back, known[:, :, 1].mean(0))

    def _inside(self, points: Tensor, generator: np.random.Generator) -> Tensor:
        """A point of the enlarged box around (V, 3) points."""
        low, high = points.amin(0), points.amax(0)
        reach = (high - low) / 2 * self.margin
        shift = torch.from_numpy(generator.uniform(-1.0, 1.0, 3))
        return (low + high) / 2 + shift * reach


class PosesBetween(PoseSource):
    """Along given poses: on the way from a known pose to one of its nearest neighbours.

    Args:
        neighbours: How many of the nearest count.

    Raises:
        ValueError: Less than one neighbour.
    """

    def __init__(self, neighbours: int = 3) -> None:
        if neighbours < 1:
            raise ValueError(f"PosesBetween needs at least 1 neighbour, got {neighbours}.")
        self.neighbours = neighbours

    def draw(self, known: Tensor, generator: np.random.Generator) -> Tensor:
        """Draw one pose; see :meth:`PoseSource.draw`."""
        chosen = int(generator.integers(len(known)))
        first = known[chosen]
        order = (known[:, :, 3] - first[:, 3]).norm(dim=-1).argsort(stable=True)
        nearest = order[order != chosen][: self.neighbours] if len(known) > 1 else order
        second = known[int(nearest[int(generator.integers(len(nearest)))])]
        mixed = torch.lerp(first, second, float(generator.random()))
        origin = mixed[:, 3]
        return look_at(origin, origin - mixed[:, 2], mixed[:, 1])
