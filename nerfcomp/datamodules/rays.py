"""Rays of posed images: random pixels in training, whole images in validation and test."""

import itertools
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from nerfcomp.datamodules.base import SceneDataModule
from nerfcomp.datamodules.loaders import Background, RandomRayLoader, Sampling, ViewLoader, scene_on
from nerfcomp.descriptions import require_between
from nerfcomp.geometry.cameras import select_views
from nerfcomp.geometry.rays import RayBatch
from nerfcomp.readers.posed import spread
from nerfcomp.readers.scene import Scene, SceneReader, Split


class RayDataModule(SceneDataModule):
    """Random rays of the training views; whole validation and test views.

    Images stay uint8 in memory and rays are made for the pixels of a batch only, so that a scene costs its RGBA pixels
    and nothing else.

    Args:
        reader: Reads the scene.
        batch_size: Rays per process and step.
        background: Colour behind the transparent parts of a scene with alpha, also given to the renderer. ``random``
            trains with another colour per ray, which keeps the field from painting the background, and evaluates on
            white. Opaque scenes have black instead of white.
        sampling: ``all_images`` draws every pixel of a batch from all training views, ``one_image`` draws one view per
            step.
        seed: Seed of the draws. Batch s depends on this and s alone.
        steps_per_epoch: Steps that Lightning counts as an epoch; validation and epoch-wise schedules go by it.
        val_views: Use this many validation views, evenly spread; all when absent. Test always uses all.
        precrop_steps: During so many first steps pixels come from the middle of the training views only, where the
            object is; a network that sees mostly background may get stuck with nothing else.
        precrop_fraction: Part of height and width that is the middle.
        images_on_device: Keep the images on the accelerator and make rays there, which saves a copy per step. Turn off
            for scenes that do not fit beside the model. On CPUs there is no difference.

    Raises:
        ValueError: If a size is not positive, or a seed is negative.
    """

    def __init__(
        self,
        reader: SceneReader,
        batch_size: int = 8192,
        background: Background = "white",
        sampling: Sampling = "all_images",
        seed: int = 0,
        steps_per_epoch: int = 1000,
        val_views: int | None = None,
        precrop_steps: int = 0,
        precrop_fraction: float = 0.5,
        images_on_device: bool = True,
    ) -> None:
        super().__init__(reader)
        require_between(1, batch_size=batch_size, steps_per_epoch=steps_per_epoch, val_views=val_views)
        require_between(0, seed=seed)
        self.batch_size = batch_size
        self.background_kind = background
        self.sampling = sampling
        self.seed = seed
        self.steps_per_epoch = steps_per_epoch
        self.val_views = val_views
        if precrop_steps < 0 or not 0.0 < precrop_fraction <= 1.0:
            raise ValueError(f"Cannot crop to {precrop_fraction} for {precrop_steps} steps; need a part in (0, 1].")
        self.precrop_steps = precrop_steps
        self.precrop_fraction = precrop_fraction
        self.images_on_device = images_on_device

    def _read(self, split: Split) -> Scene:
        """One split of the scene, validation cut down to ``val_views``."""
        scene = super()._read(split)
        return scene if split != "val" or self.val_views is None else spread_views(scene, self.val_views)

    @property
    def background(self) -> Tensor:
        """(3,) colour in [0, 1] behind the scene when whole images are rendered."""
        white = self.background_kind != "black" and self.scene.has_alpha
        return torch.ones(3) if white else torch.zeros(3)

    def train_dataloader(self) -> RandomRayLoader:
        """Random rays of the training views."""
        rank, world_size = self._place
        return RandomRayLoader(
            scene_on(self.split("train"), self._device),
            self.batch_size,
            self.steps_per_epoch,
            self._step_counter(),
            None if self.background_kind == "random" else self.background,
            self.sampling,
            self.seed,
            rank,
            world_size,
            self.precrop_steps,
            self.precrop_fraction,
        )

    def val_dataloader(self) -> Iterable[RayBatch]:
        """Validation views, one per batch; no loader where the scene has none."""
        return self._view_loader("val") if self.has("val") else []

    def test_dataloader(self) -> ViewLoader:
        """Test views, one per batch."""
        return self._view_loader("test")

    def _view_loader(self, split: Split) -> ViewLoader:
        return ViewLoader(scene_on(self.split(split), self._device), self.background, *self._place)

    def _step_counter(self) -> Callable[[], int]:
        """Lightning's count of batches, which a checkpoint restores; our own without a trainer."""
        if self.trainer is None:
            return itertools.count().__next__
        loop = self.trainer.fit_loop
        return lambda: loop.total_batch_idx + 1  # of the batch before

    @property
    def _place(self) -> tuple[int, int]:
        """Rank and number of processes."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer is not None else (0, 1)

    @property
    def _device(self) -> torch.device:
        """Where images are kept."""
        if self.trainer is None or not self.images_on_device:
            return torch.device("cpu")
        return self.trainer.strategy.root_device


def spread_views(scene: Scene, limit: int) -> Scene:
    """Keep at most ``limit`` views, evenly spread over the scene's order; the first view always stays."""
    kept = spread(list(range(len(scene.images))), limit)
    if len(kept) == len(scene.images):
        return scene
    names = tuple(scene.names[view] for view in kept)
    return scene._replace(images=scene.images[kept], camera=select_views(scene.camera, kept), names=names)
