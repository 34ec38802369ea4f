"""Batches of whole views for students, drawn from nothing but the seed and the number of the step.

Notation: N views; B views per process and step; R processes of rank r.
"""

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nerfcomp.errors import SettingsError
from nerfcomp.geometry.cameras import Camera, select_views
from nerfcomp.geometry.rays import ViewBatch

logger = logging.getLogger(__name__)

Picture = Callable[[int], Tensor]
_THREADS = 8  # that decode pictures; a batch is decoded while the one before is trained on


class Repeatable:
    """Remembers in checkpoints what its draws depend on, besides the step.

    Args:
        batch_size: B.
        next_step: Tells the number of the step that the next batch is for.
        seed: Of the draws.
        rank: r.
        world_size: R.
    """

    def __init__(self, batch_size: int, next_step: Callable[[], int], seed: int, rank: int, world_size: int) -> None:
        self.batch_size = batch_size
        self.next_step = next_step
        self.seed = seed
        self.rank = rank
        self.world_size = world_size

    def state_dict(self) -> dict[str, Any]:
        """What the draws depend on."""
        return {"seed": self.seed, "views_per_step": self.batch_size * self.world_size}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Warn when a resumed run will not draw what the interrupted run would have drawn."""
        if state != self.state_dict() and self.rank == 0:
            logger.warning("The resumed run draws other views: it has %s, it began with %s.", self.state_dict(), state)


class RandomViewLoader(Repeatable):
    """Whole views in random order: every epoch sees each view at most once, on one process only.

    Step s draws from the permutation of its epoch; of its R B views rank r keeps every R-th, beginning with the r-th.
    Hence ranks never share a view, R processes train on what one process with R times the batch would see, and a
    resumed run goes on with the views that an undisturbed run would have drawn.

    Args:
        camera: N views.
        picture: Reads view i, (H, W, 3) uint8.
        batch_size: B.
        next_step: Tells the number of the step that the next batch is for.
        seed: Another seed gives other permutations.
        rank: r.
        world_size: R.

    Raises:
        ValueError: There are fewer views than one step needs.
    """

    def __init__(
        self,
        camera: Camera,
        picture: Picture,
        batch_size: int,
        next_step: Callable[[], int],
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.views = len(camera.c2w)
        if self.views < batch_size * world_size:
            raise SettingsError(
                f"There are {self.views} views, fewer than the {batch_size * world_size} that one step needs. Lower "
                "batch_size or give more views."
            )
        self.camera = camera
        self.picture = picture
        super().__init__(batch_size, next_step, seed, rank, world_size)

    def __len__(self) -> int:
        return self.views // (self.batch_size * self.world_size)

    def __iter__(self) -> Iterator[ViewBatch]:
        with ThreadPoolExecutor(_THREADS) as pool:
            coming: dict[int, list[Future[Tensor]]] = {}
            while True:
                step = self.next_step()
                pictures = coming.pop(step, None) or self._read(pool, step)
                coming = {step + 1: self._read(pool, step + 1)}
                rgb = torch.stack([picture.result() for picture in pictures])
                yield ViewBatch(select_views(self.camera, self.draw(step)), rgb)

    def draw(self, step: int) -> list[int]:
        """Views of this rank at a step."""
        epoch, index = divmod(step, len(self))
        order = np.random.default_rng((self.seed, epoch)).permutation(self.views)
        size = self.batch_size * self.world_size
        drawn: list[int] = order[index * size : (index + 1) * size][self.rank :: self.world_size].tolist()
        return drawn

    def _read(self, pool: ThreadPoolExecutor, step: int) -> "list[Future[Tensor]]":
        return [pool.submit(self.picture, view) for view in self.draw(step)]


class FreshViewLoader(Repeatable):
    """Views that a teacher renders while the student trains: every epoch drops the oldest and adds fresh ones.

    Epoch e keeps the last ``pool_views`` of the sequence up to view ``(e + 1) fresh_views``; rank r renders every R-th
    of them. A resumed run renders its pool again and goes on as an undisturbed one.

    Args:
        view: Renders view i of an endless sequence: its one-view camera and (H, W, 3) uint8.
        fresh_views: New views per epoch, over all processes.
        pool_views: Views that are kept, over all processes.
        length: Steps per epoch.
        batch_size: B.
        next_step: Tells the number of the step that the next batch is for.
        seed: Of the draws from the pool.
        rank: r.
        world_size: R.
    """

    def __init__(
        self,
        view: Callable[[int], tuple[Camera, Tensor]],
        fresh_views: int,
        pool_views: int,
        length: int,
        batch_size: int,
        next_step: Callable[[], int],
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.view = view
        self.fresh_views = fresh_views
        self.pool_views = pool_views
        self.length = length
        super().__init__(batch_size, next_step, seed, rank, world_size)
        self.pool: dict[int, tuple[Camera, Tensor]] = {}

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[ViewBatch]:
        while True:
            yield self.draw(self.next_step())

    def draw(self, step: int) -> ViewBatch:
        """The batch of this rank at a step; renders what the step's epoch adds to the pool."""
        mine = self.members(step // self.length)
        missing = [index for index in mine if index not in self.pool]
        if missing:
            logger.info("Rendering %d fresh views for epoch %d.", len(missing), step // self.length)
        self.pool = {index: self.pool.get(index) or self.view(index) for index in mine}
        generator = np.random.default_rng((self.seed, step, self.rank))
        chosen = [self.pool[mine[place]] for place in generator.permutation(len(mine))[: self.batch_size].tolist()]
        first = chosen[0][0]
        c2w, intrinsics, distortion = (torch.cat(parts) for parts in zip(*(camera[:3] for camera, _ in chosen)))
        camera = Camera(c2w, intrinsics, distortion, first.height, first.width)
        return ViewBatch(camera, torch.stack([rgb for _, rgb in chosen]))

    def members(self, epoch: int) -> list[int]:
        """Views in this rank's pool during an epoch."""
        end = (epoch + 1) * self.fresh_views
        return [index for index in range(max(0, end - self.pool_views), end) if index % self.world_size == self.rank]
