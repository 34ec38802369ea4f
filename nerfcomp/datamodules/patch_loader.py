"""Batches of square patches of many views, drawn from nothing but the seed and the number of the step.

A student that sees patches of a hundred views in a step learns the scene sooner than one that sees as many pixels of
four whole views: neighbouring pixels say much the same.

Notation: V views of H x W pixels; S pixels along a side of a patch; P patches per process and step; R processes of
rank r.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nerfcomp.datamodules.view_loaders import Picture, Repeatable
from nerfcomp.errors import SettingsError
from nerfcomp.geometry.cameras import Camera, select_views
from nerfcomp.geometry.rays import ViewBatch


class Patches(NamedTuple):
    """Where P patches lie.

    Attributes:
        views: P numbers of views.
        top: (P,) first row of each.
        left: (P,) first column of each.
    """

    views: list[int]
    top: Tensor
    left: Tensor


class RandomPatchLoader(Repeatable):
    """Patches anywhere in the views: every step takes the views in a new order, each as often as the others.

    Of the R P patches of a step rank r takes every R-th, beginning with the r-th. Hence R processes train on what one
    process with R times the batch would see, and a resumed run goes on as an undisturbed run would have.

    Args:
        camera: V views.
        picture: Reads view i, (H, W, 3) uint8; it should keep what it has read, every step asks for up to P views.
        patch: S.
        batch_size: Size of a step per process, in views: P is the number of patches that fill so many of them.
        next_step: Tells the number of the step that the next batch is for.
        seed: Another seed gives other patches.
        rank: r.
        world_size: R.

    Raises:
        ValueError: A patch does not fit into a view.
    """

    def __init__(
        self,
        camera: Camera,
        picture: Picture,
        patch: int,
        batch_size: int,
        next_step: Callable[[], int],
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if not 1 <= patch <= min(camera.height, camera.width):
            raise SettingsError(
                f"Patches of {patch} pixels do not fit into views of {camera.width}x{camera.height}; give 1 to "
                f"{min(camera.height, camera.width)}."
            )
        self.camera = camera
        self.picture = picture
        self.patch = patch
        super().__init__(batch_size, next_step, seed, rank, world_size)
        self.count = batch_size * (camera.height // patch) * (camera.width // patch)

    def __len__(self) -> int:
        return max(1, len(self.camera.c2w) // (self.batch_size * self.world_size))

    def __iter__(self) -> Iterator[ViewBatch]:
        with ThreadPoolExecutor(1) as pool:
            coming: dict[int, Future[ViewBatch]] = {}
            while True:
                step = self.next_step()
                batch = coming.pop(step, None) or pool.submit(self.batch, step)
                coming = {step + 1: pool.submit(self.batch, step + 1)}
                yield batch.result()

    def draw(self, step: int) -> Patches:
        """Patches of this rank at a step."""
        generator, views = np.random.default_rng((self.seed, step)), len(self.camera.c2w)
        total = self.count * self.world_size
        rounds = [generator.permutation(views) for _ in range(-(-total // views))]
        mine = slice(self.rank, total, self.world_size)
        ends = (self.camera.height - self.patch + 1, self.camera.width - self.patch + 1)
        top, left = (torch.from_numpy(generator.integers(0, end, total)[mine]) for end in ends)
        return Patches(np.concatenate(rounds)[mine].tolist(), top, left)

    def batch(self, step: int) -> ViewBatch:
        """The patches of a step, each with a camera of its own."""
        views, top, left = self.draw(step)
        camera = select_views(self.camera, views)
        moved = camera.intrinsics.clone()
        moved[:, 2] -= left
        moved[:, 3] -= top
        cut = [self._cut(*place) for place in zip(views, top.tolist(), left.tolist(), strict=True)]
        return ViewBatch(Camera(camera.c2w, moved, camera.distortion, self.patch, self.patch), torch.stack(cut))

    def _cut(self, view: int, top: int, left: int) -> Tensor:
        return self.picture(view)[top : top + self.patch, left : left + self.patch]
