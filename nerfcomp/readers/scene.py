"""What a reader returns, and the geometry that readers share.

``C`` views of ``H x W`` pixels. World conventions are those of ``nerfcomp.geometry.cameras``: right handed, OpenGL
cameras; in scenes around an object z points up.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from nerfcomp.geometry.cameras import Camera
from nerfcomp.readers.video_paths import PathKind

Split = Literal["train", "val", "test"]

# nerf_synthetic's cameras stand 4.0311 from the origin, and its objects fit into a cube of half side 1.5
HALF_SIDE_PER_RADIUS = 1.5 / 4.031128857175551
_NEAREST = 0.1  # of the median camera distance: what stands closer to a camera is never marched


class Scene(NamedTuple):
    """Posed images of one split.

    Attributes:
        images: (C, H, W, 4) uint8 RGBA, straight (not premultiplied) alpha; 255 where the file has no alpha.
        camera: C views of H x W pixels.
        near: Where rays begin, as `camera_rays` takes it: world units, or with ``ndc`` a fraction.
        far: Where rays end, likewise. Box, bounds and ``ndc`` are the same in every split.
        aabb: (2, 3) float32, least and greatest corner of the cube that is marched and encoded, in the space that is
            marched.
        ndc: Rays are mapped to normalised device coordinates before they are marched.
        has_alpha: Some image has an alpha channel.
        names: C file names, for reports.
        split: Which split this is.
        cascades: Number of nested cubes, each half the size of the next and the last being ``aabb``, that cover the
            scene with detail where cameras look; 1 for a single object.
        pixel_centers: The camera's rays go through the centres of the pixels that the images were taken with; otherwise
            through their top left corners, as nerf-pytorch's and nerf_pl's do: its principal point was moved.
        to_world: (4, 4) float64, from the marched space to the world of the files, by scale, turn and shift; the same
            space when absent.
    """

    images: Tensor
    camera: Camera
    near: float
    far: float
    aabb: Tensor
    ndc: bool
    has_alpha: bool
    names: tuple[str, ...]
    split: str
    cascades: int = 1
    pixel_centers: bool = True
    to_world: Tensor | None = None


class SceneReader(ABC):
    """Turns something on disk, or a recipe, into scenes.

    Attributes:
        pixel_centers: See :class:`Scene`; of all scenes and paths of this reader.
    """

    pixel_centers = True

    @property
    def surface_distance(self) -> Callable[[Tensor], Tensor] | None:
        """Exact signed distances (M,) at positions (M, 3) in the world, where a reader knows the surface."""
        return None

    @abstractmethod
    def read(self, split: Split) -> Scene:
        """Read one split.

        Args:
            split: Which one.

        Returns:
            The scene with its images in memory.

        Raises:
            SceneError: If anything on disk is missing, damaged or contradictory; nothing is ever skipped.
        """

    def has(self, split: Split) -> bool:
        """Whether a split has any views; only validation and test may have none."""
        return True

    @abstractmethod
    def path(self, kind: PathKind, n_frames: int) -> Camera:
        """Make the cameras of a video without reading images.

        Args:
            kind: See `nerfcomp.readers.video_paths.film_poses`.
            n_frames: Number of frames, at least 1.

        Returns:
            ``n_frames`` views without lens distortion, of the size of the images.

        Raises:
            ValueError: If the scene has no such path.
        """


def cube(center: tuple[float, float, float], half_side: float) -> Tensor:
    """Corners of an axis-aligned cube.

    Args:
        center: Its middle.
        half_side: Half its side, above 0.

    Returns:
        (2, 3) float32, least and greatest corner.

    Raises:
        ValueError: If the half side is not a positive number.
    """
    if not 0 < half_side < math.inf:
        raise ValueError(f"the half side of the scene's cube is {half_side}; it must be a number above 0")
    return torch.tensor(center) + torch.tensor([[-half_side], [half_side]])


def march_bounds(camera: Camera, aabb: Tensor) -> tuple[float, float]:
    """Find near and far planes between which every view sees the whole cube.

    Args:
        camera: All views of the scene.
        aabb: (2, 3) the cube.

    Returns:
        Near, at least a small fraction of the median camera distance, and far, both in world units.
    """
    distance = (camera.c2w[:, :, 3] - aabb.mean(0)).norm(dim=-1)
    reach = float((aabb[1] - aabb[0]).norm()) / 2
    near = max(float(distance.min()) - reach, _NEAREST * float(distance.median()), 1e-3 * reach)
    return near, float(distance.max()) + reach


def through_corners(camera: Camera) -> Camera:
    """Move the principal point so that the ray of every pixel goes through its top left corner.

    That is ``(i - W / 2) / f`` for column ``i``, where other tools, such as nerf-pytorch and nerf_pl, let rays begin.

    Args:
        camera: Views whose rays go through the centres of pixels.

    Returns:
        The same views, other rays.
    """
    return camera._replace(intrinsics=camera.intrinsics + camera.intrinsics.new_tensor([0.0, 0.0, 0.5, 0.5]))
