"""Writing a teacher's pictures as training data for a student."""

import hashlib
import logging
import time
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer

from nerfcomp.artifacts.runs import find_checkpoint
from nerfcomp.callbacks.media import Picture, to_picture
from nerfcomp.errors import NerfcompError
from nerfcomp.geometry.rays import RayBatch
from nerfcomp.readers.pseudo import Manifest, PseudoFolder

logger = logging.getLogger(__name__)


class PseudoDataWriter(Callback):
    """Write the views of ``train.py predict`` into shards; a run that was stopped goes on with the shards that lack.

    Process ``r`` of ``R`` makes every R-th shard. Processes that know each other (``--trainer.devices``) share the work
    by themselves; processes started one by one, perhaps on several machines, are told with ``part`` and ``parts`` which
    share is theirs. Their pictures are the same in all cases: on CPUs each process computes with one thread, as the
    last bit of an exponential depends on where threads split a tensor.

    Args:
        folder: Where the views go.
        views_per_shard: Views in each file.
        part: Which share is this process's, when processes are started one by one.
        parts: Number of such processes.

    Raises:
        ValueError: A number out of range.
    """

    def __init__(self, folder: str, views_per_shard: int = 10, part: int = 0, parts: int = 1) -> None:
        if views_per_shard < 1 or not 0 <= part < parts:
            raise ValueError(
                f"Cannot write shards of {views_per_shard} views, part {part} of {parts} (counted from 0)."
            )
        self.folder = PseudoFolder(folder)
        self.views_per_shard = views_per_shard
        self.part = part
        self.parts = parts
        self._pictures: list[Picture] = []
        self._done = 0
        self._began = 0.0
        self._threads = 1

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write the manifest and tell the datamodule which views this process makes."""
        if stage != "predict":
            raise NerfcompError("PseudoDataWriter works with `train.py predict` only; take it out of the callbacks.")
        trainer.predict_loop.return_predictions = False  # all views of a large set would not fit in memory
        manifest = describe_views(trainer.datamodule, self.views_per_shard)  # type: ignore[attr-defined]
        self.folder.begin(manifest)
        place = self.part * trainer.world_size + trainer.global_rank
        mine = set(range(place, manifest.n_shards, self.parts * trainer.world_size))
        shards = [shard for shard in self.folder.missing(manifest) if shard in mine]
        trainer.datamodule.views = [view for s in shards for view in manifest.views(s)]  # type: ignore[attr-defined]
        self.manifest = manifest
        if len(shards) < len(mine):
            logger.info("%d of %d shards are there already.", len(mine) - len(shards), len(mine))

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._threads, self._began = torch.get_num_threads(), time.perf_counter()
        if pl_module.device.type == "cpu":
            torch.set_num_threads(1)

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: RayBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep one view; write the shard that it completes."""
        self._pictures.append(to_picture(torch.nan_to_num(outputs.rgb), batch.height, batch.width))
        views = self.manifest.views(int(batch.name) // self.views_per_shard)
        if int(batch.name) == views[-1]:
            path = self.folder.write_shard(int(batch.name) // self.views_per_shard, views[0], self._pictures)
            self._pictures = []
            self._done += len(views)
            self._report(path, len(trainer.datamodule.views))  # type: ignore[attr-defined]

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the hashes when this process was the last."""
        torch.set_num_threads(self._threads)
        trainer.strategy.barrier("pseudo views")
        if trainer.is_global_zero and self.folder.finish(self.manifest):
            logger.info("All %d views are in %s.", len(self.manifest.poses), self.folder.root)
        elif trainer.is_global_zero:
            logger.info("This share is done; %d shards still lack.", len(self.folder.missing(self.manifest)))

    def _report(self, path: Path, total: int) -> None:
        seconds = (time.perf_counter() - self._began) / self._done
        left = seconds * (total - self._done) / 60
        logger.info("%s: %d of %d views, %.2f s each, %.1f min left", path.name, self._done, total, seconds, left)


def describe_views(data: Any, views_per_shard: int) -> Manifest:
    """Say what the views of a ``PoseDataModule`` are."""
    source, scene, camera = data.source, data.trained.scene, data.cameras
    file = find_checkpoint(source.teacher)
    teacher = {
        "file": file.name,
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "poses": f"{type(source.poses).__name__} {vars(source.poses)}, seed {source.seed}",
    }
    return Manifest(
        teacher,
        views_per_shard,
        camera.height,
        camera.width,
        camera.intrinsics[0].tolist(),
        camera.distortion[0].tolist(),
        scene.near,
        scene.far,
        scene.ndc,
        [list(corner) for corner in scene.aabb],
        list(scene.background),
        camera.c2w.flatten(1).tolist(),
    )
