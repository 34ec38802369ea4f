"""Scenes of its own making, rendered instead of read from disk."""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from nerfcomp.geometry.cameras import Camera, make_camera, scaled
from nerfcomp.geometry.paths import look_at
from nerfcomp.geometry.rays import Rays, image_rays
from nerfcomp.readers.arrangements import Arrangement, arrange
from nerfcomp.readers.glass import behind_glass
from nerfcomp.readers.scene import Scene, SceneReader, Split, cube, march_bounds
from nerfcomp.readers.shading import shade
from nerfcomp.readers.solid_distances import solid_distance
from nerfcomp.readers.solids import trace
from nerfcomp.readers.video_paths import PathKind, along, film_poses

_SPLITS: tuple[Split, ...] = ("train", "val", "test")
_ANGLE_X = 0.6911112  # horizontal field of view in radians, that of nerf_synthetic
_CHUNK = 2**18  # rays at a time, which bounds the memory of large images
_LEAST_RADIUS = 1.8  # closer cameras could stand inside the cube's circumscribed sphere
_GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))


class Surface(NamedTuple):
    """What the middle of every pixel of one view sees.

    Attributes:
        depth: (H, W) float32, distance along the unit ray in world units; infinite beside the solids.
        normals: (H, W, 3) float32, unit length, outward, world frame; zero beside the solids.
        solid: (H, W) int64, index into ``ProceduralReader.solids``; -1 beside the solids.
    """

    depth: Tensor
    normals: Tensor
    solid: Tensor


class ProceduralReader(SceneReader):
    """Renders solids with texture, soft shadow and highlights that follow the eye.

    The scene fits into the cube [-1, 1]^3, z up. Cameras stand on the upper half of a sphere around it and look at its
    middle, as in nerf_synthetic. Same arguments, same images.

    Attributes:
        solids: What is shown.
        glass: Semi-transparent balls, shown too.

    Args:
        image_size: Rows and columns of every image, at least 1.
        n_train: Number of training views, at least 1.
        n_val: Number of validation views, at least 1.
        n_test: Number of test views, at least 1.
        radius: Distance of the cameras from the middle, world units, at least 1.8.
        supersampling: Rays per pixel and axis, at least 1.
        seed: Chooses colours, patterns, the turn of the box and the camera positions; not negative.
        arrangement: What is shown; see `nerfcomp.readers.arrangements.arrange`.
        opaque: Lay the images over white and leave out their alpha channel, as photographs before a white wall.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(
        self,
        image_size: int = 200,
        n_train: int = 60,
        n_val: int = 8,
        n_test: int = 12,
        radius: float = 3.2,
        supersampling: int = 2,
        seed: int = 0,
        arrangement: Arrangement = "still_life",
        opaque: bool = False,
    ) -> None:
        counts = {"image_size": image_size, "n_train": n_train, "n_val": n_val, "n_test": n_test}
        for name, value in (counts | {"supersampling": supersampling}).items():
            if value < 1:
                raise ValueError(f"{name} is {value}; a scene needs at least 1")
        if not _LEAST_RADIUS <= radius < math.inf:
            raise ValueError(f"radius is {radius}; cameras must stand at least {_LEAST_RADIUS} from the middle")
        if seed < 0:
            raise ValueError(f"seed is {seed}; it must not be negative")
        self.image_size = image_size
        self.n_views: dict[Split, int] = {"train": n_train, "val": n_val, "test": n_test}
        self.radius = radius
        self.supersampling = supersampling
        self.seed = seed
        self.opaque = opaque
        self.solids, self.glass, self.half_side = arrange(arrangement, seed)

    @property
    def surface_distance(self) -> Callable[[Tensor], Tensor] | None:
        """Distance to the nearest solid; none where nothing is opaque."""
        return partial(solid_distance, self.solids) if self.solids else None

    def camera(self, split: Split) -> Camera:
        """Place the cameras of one split without rendering anything.

        Args:
            split: Which one.

        Returns:
            Its views.
        """
        generator = torch.Generator().manual_seed(len(_SPLITS) * self.seed + _SPLITS.index(split))
        origins = self.radius * _scattered_directions(self.n_views[split], generator)
        poses = look_at(origins, torch.zeros(3), torch.tensor([0.0, 0.0, 1.0]))
        focal = 0.5 * self.image_size / math.tan(0.5 * _ANGLE_X)
        return make_camera(poses, self.image_size, self.image_size, focal)

    def read(self, split: Split) -> Scene:
        """Render one split; takes about a tenth of a second per view of 200 x 200 pixels."""
        camera, aabb = self.camera(split), cube((0.0, 0.0, 0.0), self.half_side)
        near, far = march_bounds(self.camera("train"), aabb)
        views = tqdm(range(len(camera.c2w)), desc=f"rendering {split} views", disable=None, delay=2, leave=False)
        images = torch.stack([self.render(camera, view) for view in views])
        names = tuple(f"r_{view}.png" for view in range(len(images)))
        return Scene(images, camera, near, far, aabb, False, has_alpha=not self.opaque, names=names, split=split)

    def path(self, kind: PathKind, n_frames: int) -> Camera:
        """Move around or past the views; see :meth:`SceneReader.path`."""
        camera = self.camera("train")
        return along(camera, film_poses(camera.c2w, torch.zeros(3), kind, n_frames))

    def render(self, camera: Camera, view: int) -> Tensor:
        """Render one view, anti-aliased.

        Colours are averaged after encoding for display, because that is how volume rendering learns to mix them.

        Args:
            camera: Any views.
            view: Index of one.

        Returns:
            (H, W, 4) uint8 RGBA, straight alpha.
        """
        fine = scaled(camera, self.supersampling)
        rays = image_rays(fine, view, 0.0, math.inf)
        parts = zip(*(torch.split(tensor, _CHUNK) for tensor in rays), strict=True)
        samples = torch.cat([self._shade(Rays(*part)) for part in parts])
        blocks = samples.reshape(camera.height, self.supersampling, camera.width, self.supersampling, 4)
        image = blocks.mean((1, 3))
        alpha = image[..., 3:]
        if self.opaque:
            image = torch.cat([image[..., :3] + (1 - alpha), torch.ones_like(alpha)], -1)
        else:
            image[..., :3] /= alpha.clamp_min(1e-6)
        return (255 * image).round().to(torch.uint8)

    def _shade(self, rays: Rays) -> Tensor:
        """Colour and coverage of every ray, premultiplied: (N, 4)."""
        hits = trace(self.solids, rays)
        rgb = shade(self.solids, hits, rays.origins, rays.directions)
        rgba = torch.cat([rgb, (hits.solid >= 0)[:, None]], -1)
        return behind_glass(self.glass, rays, rgba, hits.depth.float())

    def surface(self, camera: Camera, view: int) -> Surface:
        """Measure depth and normals of one view, exactly and without anti-aliasing.

        Args:
            camera: Any views.
            view: Index of one.

        Returns:
            One value per pixel.
        """
        hits = trace(self.solids, image_rays(camera, view, 0.0, math.inf))
        shape = camera.height, camera.width
        return Surface(hits.depth.float().reshape(shape), hits.normals.reshape(*shape, 3), hits.solid.reshape(shape))


def _scattered_directions(n: int, generator: torch.Generator) -> Tensor:
    """Spread unit vectors evenly over the upper half sphere, from just above the horizon to nearly overhead: (n, 3)."""
    start, shift = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
    order = torch.randperm(n, generator=generator)
    height = 0.04 + 0.92 * (order + shift) / n
    azimuth = 2 * math.pi * start + _GOLDEN_ANGLE * order
    across = (1 - height**2).sqrt()
    return torch.stack([across * azimuth.cos(), across * azimuth.sin(), height], -1).float()
