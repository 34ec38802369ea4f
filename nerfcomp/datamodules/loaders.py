"""Batches of rays from images in memory: random pixels for training, whole views for evaluation.

Notation: C views of H x W pixels; N rays; R processes of rank r. Images stay uint8; only the pixels of a batch become
floats.
"""

import logging
from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nerfcomp.devices import sent
from nerfcomp.geometry.cameras import Camera, select_views
from nerfcomp.geometry.rays import RayBatch, Rays, camera_rays, image_rays, lenses_of
from nerfcomp.readers.scene import Scene

logger = logging.getLogger(__name__)

Background = Literal["white", "black", "random"]
Sampling = Literal["all_images", "one_image"]


def over_background(rgba: Tensor, background: Tensor) -> Tensor:
    """Lay straight-alpha colours over a background.

    Args:
        rgba: (N, 4) uint8.
        background: (N, 3) or (3,) float32 in [0, 1].

    Returns:
        (N, 3) float32 in [0, 1].
    """
    rgb, alpha = rgba[:, :3].float() / 255, rgba[:, 3:].float() / 255
    return torch.lerp(background.expand_as(rgb), rgb, alpha)


def gather_pixels(images: Tensor, view: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Look up pixels.

    Args:
        images: (C, H, W, 4) uint8, contiguous.
        view: (N,) in [0, C).
        y: (N,) rows in [0, H).
        x: (N,) columns in [0, W).

    Returns:
        (N, 4) uint8.
    """
    height, width = images.shape[1:3]
    words = images.view(-1, 4).view(torch.int32)  # one word per pixel is looked up several times faster than four bytes
    return words.index_select(0, (view * height + y) * width + x).view(torch.uint8).view(-1, 4)


def scene_on(scene: Scene, device: torch.device) -> Scene:
    """Copy images and cameras of a scene to a device; the scene itself when they are there already."""
    camera = scene.camera
    c2w, intrinsics, distortion = (t.to(device) for t in (camera.c2w, camera.intrinsics, camera.distortion))
    return scene._replace(
        images=scene.images.to(device).contiguous(),
        camera=Camera(c2w, intrinsics, distortion, camera.height, camera.width),
    )


def middle(length: int, fraction: float) -> tuple[int, int]:
    """First and one behind the last pixel of the middle part of an edge.

    >>> middle(400, 0.5), middle(5, 1.0), middle(3, 0.01)
    ((100, 300), (0, 5), (1, 2))
    """
    kept = max(1, min(length, round(length * fraction)))
    first = (length - kept) // 2
    return first, first + kept


class RandomRayLoader:
    """Random rays of all views, drawn from nothing but the seed and the number of the step.

    Step s draws one global batch of ``R * batch_size`` pixels and rank r keeps every R-th of them, beginning with the
    r-th. Hence ranks never share a draw, R processes train on what one process with R times the batch size would see,
    and a resumed run goes on with the very rays that an undisturbed run would have drawn.

    Args:
        scene: Training views.
        batch_size: Rays per process and step.
        length: Steps per epoch. The iterator itself never ends, Lightning stops after this many.
        next_step: Tells the number of the step that the next batch is for.
        background: Colour behind transparent pixels; ``random`` draws one per ray.
        sampling: Draw pixels from all views, or from one random view per step.
        seed: Another seed gives another sequence of batches.
        rank: Rank of this process.
        world_size: Number of processes.
        precrop_steps: Until this step pixels come from the middle of the views only.
        precrop_fraction: Part of height and width that is the middle, in (0, 1].
    """

    def __init__(
        self,
        scene: Scene,
        batch_size: int,
        length: int,
        next_step: Callable[[], int],
        background: Tensor | None,
        sampling: Sampling = "all_images",
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        precrop_steps: int = 0,
        precrop_fraction: float = 0.5,
    ) -> None:
        self.scene = scene
        self.batch_size = batch_size
        self.length = length
        self.precrop_steps = precrop_steps
        self.precrop_fraction = precrop_fraction
        self.next_step = next_step
        self.background = None if background is None else background.to(scene.images.device)
        self.lenses = lenses_of(scene.camera)
        self.sampling = sampling
        self.seed = seed
        self.rank = rank
        self.world_size = world_size

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[RayBatch]:
        while True:
            yield self.draw(self.next_step())

    def draw(self, step: int) -> RayBatch:
        """The batch of this rank at a step: ``batch_size`` rays on the device of the images."""
        # numpy's generator mixes the whole pair; torch's CPU generator would keep only 32 bits of a seed
        generator = np.random.default_rng((self.seed, step))
        scene, device = self.scene, self.scene.images.device
        views, height, width = scene.images.shape[:3]
        size, mine = self.batch_size * self.world_size, slice(self.rank, None, self.world_size)

        def mine_of(draws: NDArray[Any]) -> Tensor:
            return sent(torch.from_numpy(draws[mine]), device)

        chosen = generator.integers(views, size=1 if self.sampling == "one_image" else size)
        view = mine_of(np.broadcast_to(chosen, size).copy())
        fraction = self.precrop_fraction if step < self.precrop_steps else 1.0
        y, x = (mine_of(generator.integers(*middle(edge, fraction), size=size)) for edge in (height, width))
        if self.background is None:
            background = mine_of(generator.random((size, 3), dtype=np.float32))
        else:
            background = self.background.expand(self.batch_size, 3)
        rays = camera_rays(scene.camera, view, x, y, scene.near, scene.far, scene.ndc, self.lenses)
        rgba = gather_pixels(scene.images, view, y, x)
        alpha = rgba[:, 3].float() / 255 if scene.has_alpha else None
        return RayBatch(rays, over_background(rgba, background), background, alpha=alpha)

    def state_dict(self) -> dict[str, Any]:
        """What the draws depend on, besides the step."""
        rays_per_step = self.batch_size * self.world_size
        return {
            "seed": self.seed,
            "rays_per_step": rays_per_step,
            "sampling": self.sampling,
            **({"precrop_steps": self.precrop_steps} if self.precrop_steps else {}),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Warn when a resumed run will not draw what the interrupted run would have drawn."""
        changed = {key: value for key, value in self.state_dict().items() if state.get(key) != value}
        if changed and self.rank == 0:
            before = {key: state.get(key) for key in changed}
            logger.warning(
                "The resumed run draws other rays than the interrupted one would have: it has %s, it was started with "
                "%s. Set them back for the same result.",
                changed,
                before,
            )


class ViewLoader:
    """Whole views, one per batch, every R-th view on each rank.

    All ranks get the same number of batches, because Lightning's loops and reductions wait for each other. Where views
    run out, a rank gets blank batches without rays and without a name, which must not be counted.

    Args:
        scene: Views to evaluate.
        background: (3,) colour behind transparent pixels.
        rank: Rank of this process.
        world_size: Number of processes.
    """

    def __init__(self, scene: Scene, background: Tensor, rank: int = 0, world_size: int = 1) -> None:
        self.scene = scene
        self.background = background
        self.rank = rank
        self.world_size = world_size

    def __len__(self) -> int:
        return -(-len(self.scene.images) // self.world_size)

    def __iter__(self) -> Iterator[RayBatch]:
        for index in range(len(self)):
            view = index * self.world_size + self.rank
            yield self.view(view) if view < len(self.scene.images) else blank_batch(self.scene.images.device)

    def view(self, index: int) -> RayBatch:
        """One whole view: H * W rays in row-major order."""
        scene, camera = self.scene, self.scene.camera
        rays = image_rays(camera, index, scene.near, scene.far, scene.ndc)
        background = self.background.to(scene.images.device).expand(camera.height * camera.width, 3)
        rgb = over_background(scene.images[index].view(-1, 4), background)
        only = select_views(camera, [index])
        return RayBatch(rays, rgb, background, camera.height, camera.width, scene.names[index], only)


def blank_batch(device: torch.device) -> RayBatch:
    """A batch without rays and without a name, for ranks that have run out of views."""
    vector, scalar = torch.zeros(0, 3, device=device), torch.zeros(0, 1, device=device)
    return RayBatch(Rays(vector, vector, scalar, scalar, vector), vector, vector)
