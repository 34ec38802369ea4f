"""Pictures of all test views, at chosen steps of training."""

import logging
from pathlib import Path
from typing import Any, cast

from lightning import Callback, LightningModule, Trainer

from nerfcomp.artifacts.artifact import SceneArtifact
from nerfcomp.evaluation.report import mean_result
from nerfcomp.evaluation.views import evaluate_views, some_views

logger = logging.getLogger(__name__)


class ViewRender(Callback):
    """Write ``testset_step<n>/000.png``, ... into the folder of the run and log their mean PSNR as ``test/psnr``.

    Rank zero renders while the others wait. The views only measure; nothing is ever chosen by them.

    Args:
        every_n_steps: Render every so many steps; only at the end when absent.
        at_end: Render after the last step.
        views: Render this many test views, evenly spread; all when absent.

    Raises:
        ValueError: A number below 1.
    """

    def __init__(self, every_n_steps: int | None = None, at_end: bool = True, views: int | None = None) -> None:
        if min(1 if number is None else number for number in (every_n_steps, views)) < 1:
            raise ValueError(
                f"ViewRender needs every_n_steps and views of at least 1, got {every_n_steps} and {views}."
            )
        self.every_n_steps = every_n_steps
        self.at_end = at_end
        self.views = views
        self._last = -1

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Render when it is time, except at the last step."""
        step = trainer.global_step
        if self.every_n_steps and step % self.every_n_steps == 0 and 0 < step < trainer.estimated_stepping_batches:
            self.run(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Render the end of the run."""
        if self.at_end:
            self.run(trainer, pl_module)

    def run(self, trainer: Trainer, module: LightningModule) -> None:
        """Render the views of the current step, once; all processes must call."""
        if trainer.global_step == self._last:
            return
        self._last = trainer.global_step
        root = Path(trainer.log_dir or trainer.default_root_dir)  # all processes must ask
        if trainer.is_global_zero:
            self._write(trainer, module, root / f"testset_step{trainer.global_step}")
        trainer.strategy.barrier("views")

    def _write(self, trainer: Trainer, module: LightningModule, folder: Path) -> None:
        scene = trainer.datamodule.split("test")  # type: ignore[attr-defined]
        if self.views is not None:
            scene = some_views(scene, self.views)
        mean = mean_result(evaluate_views(cast(SceneArtifact, module.trained), scene, "test views", folder))
        for log in trainer.loggers:
            log.log_metrics({"test/psnr": mean.psnr, "test/ssim": mean.ssim}, trainer.global_step)
        logger.info("Step %d: PSNR %.3f dB on %d test views (%s)", trainer.global_step, mean.psnr, mean.views, folder)
