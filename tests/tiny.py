"""A scene of 8x8 pixels and a module of a few weights: all that datamodules and callbacks need to be tested."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from lightning import LightningModule
from torch import Tensor, nn

from nerfcomp.datamodules.rays import RayDataModule
from nerfcomp.errors import SceneError
from nerfcomp.geometry.cameras import Camera, make_camera
from nerfcomp.geometry.paths import spherical_path
from nerfcomp.geometry.rays import RayBatch, Rays, image_rays
from nerfcomp.readers.scene import Scene, SceneReader, Split
from nerfcomp.readers.video_paths import PathKind

VIEWS: dict[Split, int] = {"train": 4, "val": 5, "test": 3}


class TinyReader(SceneReader):
    """Views of noise around the origin; the left half of every view is opaque, the right half half transparent.

    Args:
        opaque: Give every pixel alpha 255.
        size: Height and width.
    """

    def __init__(self, opaque: bool = False, size: int = 8) -> None:
        self.opaque = opaque
        self.size = size

    def read(self, split: Split) -> Scene:
        generator = torch.Generator().manual_seed(list(VIEWS).index(split))
        images = torch.randint(256, (VIEWS[split], self.size, self.size, 4), generator=generator, dtype=torch.uint8)
        images[..., 3] = 255
        if not self.opaque:
            images[:, :, self.size // 2 :, 3] = 102  # 0.4
        names = tuple(f"{split}_{view}.png" for view in range(VIEWS[split]))
        aabb = torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])
        return Scene(images, self._camera(VIEWS[split]), 2.0, 6.0, aabb, False, not self.opaque, names, split)

    def path(self, kind: PathKind, n_frames: int) -> Camera:
        return self._camera(n_frames)

    def _camera(self, views: int) -> Camera:
        return make_camera(spherical_path(views, 4.0, 0.5), self.size, self.size, focal=1.2 * self.size)


class UnvalidatedReader(TinyReader):
    """The same scene without validation views."""

    def has(self, split: Split) -> bool:
        return split != "val"

    def read(self, split: Split) -> Scene:
        assert split != "val"
        return super().read(split)


class UnreadableReader(TinyReader):
    """A scene whose images are gone."""

    def read(self, split: Split) -> Scene:
        raise SceneError("no image tiny.png. Restore it.")


class TinyView(NamedTuple):
    """What a tiny module renders."""

    rgb: Tensor
    depth: Tensor
    opacity: Tensor


class TinyArtifact:
    """What callbacks see of a tiny module."""

    def __init__(self, module: "TinyModule") -> None:
        self.module = module

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        training = self.module.training
        self.module.eval()
        with torch.no_grad():
            yield
        self.module.train(training)

    def draw(self, camera: Camera, background: Tensor) -> TinyView:
        return self.module.render_image(image_rays(camera, 0, 2.0, 6.0), background)

    def draw_batch(self, batch: RayBatch) -> TinyView:
        return self.module.render_image(batch.rays, batch.background)


class TinyModule(LightningModule):
    """Colour as a linear function of origin and direction; a ball of radius 1 for depth and opacity.

    Args:
        lr: Learning rate.
        keep_batches: Remember the targets of every training batch in ``seen``.
        record: Folder where each rank puts ``seen`` and ``scores`` when training ends.
        pause: Seconds to sleep per training step and per view.
    """

    def __init__(
        self, lr: float = 1e-2, keep_batches: bool = False, record: Path | None = None, pause: float = 0.0
    ) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(6, 3)
        self.lr = lr
        self.keep_batches = keep_batches
        self.record = record
        self.pause = pause
        self.seen: list[tuple[int, Tensor]] = []
        self.scores: list[tuple[str, float]] = []
        self.rendered_views = 0

    @property
    def trained(self) -> TinyArtifact:
        return TinyArtifact(self)

    def color(self, rays: Rays) -> Tensor:
        return torch.sigmoid(self.linear(torch.cat([rays.origins, rays.directions], -1)))

    def training_step(self, batch: RayBatch) -> dict[str, Tensor]:
        if self.keep_batches:
            self.seen.append((self.global_step, torch.cat([batch.rays.directions, batch.rgb], -1)))
        time.sleep(self.pause)
        loss = (self.color(batch.rays) - batch.rgb).square().mean()
        self.log("psnr", -10 * loss.detach().log10(), prog_bar=True)
        return {"loss": loss, "samples_per_ray": torch.tensor(3.0)}

    def validation_step(self, batch: RayBatch) -> None:
        if batch.height:
            view = self.render_image(batch.rays, batch.background)
            self.scores.append((batch.name, float((view.rgb - batch.rgb).abs().mean())))

    def test_step(self, batch: RayBatch) -> None:
        self.validation_step(batch)

    def render_image(self, rays: Rays, background: Tensor) -> TinyView:
        self.rendered_views += 1
        time.sleep(self.pause)
        along = -(rays.origins * rays.directions).sum(-1)
        miss = (rays.origins + along[:, None] * rays.directions).norm(dim=-1)
        opacity = (miss < 1).float()
        depth = (along - (1 - miss.square()).clamp_min(0).sqrt()) * opacity
        return TinyView(
            torch.lerp(background.expand(len(opacity), 3), self.color(rays), opacity[:, None]), depth, opacity
        )

    def on_train_end(self) -> None:
        if self.record is not None:
            self.record.mkdir(parents=True, exist_ok=True)
            content = {"seen": self.seen, "scores": self.scores, "weight": self.linear.weight.detach()}
            torch.save(content, self.record / f"rank{self.global_rank}.pt")

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.lr)


def tiny_data(batch_size: int = 16, steps_per_epoch: int = 10, seed: int = 0) -> RayDataModule:
    """A datamodule over the tiny scene."""
    return RayDataModule(TinyReader(), batch_size=batch_size, steps_per_epoch=steps_per_epoch, seed=seed)
