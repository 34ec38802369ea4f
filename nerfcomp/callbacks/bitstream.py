"""Writing the field as a bitstream while it trains, and measuring what a receiver of that file would see."""

import logging
from pathlib import Path
from typing import Any, cast

from lightning import Callback, LightningModule, Trainer

from nerfcomp.artifacts.artifact import SceneArtifact
from nerfcomp.artifacts.kinds import of_scene
from nerfcomp.artifacts.nfc import fp32_bytes, read_nfc, write_nfc
from nerfcomp.evaluation.report import mean_result, write_json
from nerfcomp.evaluation.views import evaluate_views, some_views
from nerfcomp.rate_control.targets import RateTarget, encode_for

logger = logging.getLogger(__name__)


class BitstreamExport(Callback):
    """Encode, decode and evaluate the decoded field at chosen steps and at the end of training.

    Files go to ``<log_dir>/bitstreams/step<step>.nfc`` with a ``.json`` of the figures beside each; TensorBoard gets
    ``bitstream/bytes``, ``bitstream/ratio``, ``bitstream/psnr`` (of the decoded file), ``bitstream/psnr_fp32`` and
    ``bitstream/psnr_drop``, all on the same validation views; bytes and ratio alone where nothing validates.

    Args:
        every_n_steps: Also export every so many steps; only at the end when absent.
        at_end: Export when training ends.
        qp: Quality, see ``compress.py encode``.
        uniform: Give every tensor the same QP.
        views: Validation views to measure on, evenly spread.

    Raises:
        ValueError: A number of steps or views below 1.
    """

    def __init__(
        self,
        every_n_steps: int | None = None,
        at_end: bool = True,
        qp: int = -24,
        uniform: bool = False,
        views: int = 4,
    ) -> None:
        if views < 1 or (every_n_steps is not None and every_n_steps < 1):
            raise ValueError(f"BitstreamExport needs every_n_steps and views >= 1, got {every_n_steps} and {views}.")
        self.every_n_steps = every_n_steps
        self.at_end = at_end
        self.target = RateTarget(qp, uniform)
        self.views = views
        self._last = -1

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: object) -> None:
        """Export when due."""
        if self.every_n_steps and trainer.global_step % self.every_n_steps == 0 and trainer.global_step != self._last:
            self.export(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Export the finished field."""
        if self.at_end and trainer.global_step != self._last:
            self.export(trainer, pl_module)

    def export(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write, decode, measure and log on rank zero; the other ranks wait. A field that has diverged ends the run."""
        cast(Any, pl_module).check_finite()
        self._last = trainer.global_step
        folder = Path(trainer.log_dir or trainer.default_root_dir) / "bitstreams"  # all processes must ask
        if trainer.is_global_zero and not trainer.sanity_checking:
            path = folder / f"step{trainer.global_step:07d}.nfc"
            try:
                figures = self.measure(trainer, pl_module, path)
                write_json(path.with_suffix(".json"), figures)
            except OSError as error:  # a full disk costs the file, not the training
                logger.warning("%s was not written: %s. Training goes on.", path, error)
            else:
                self._tell(trainer, path, figures)
        trainer.strategy.barrier("bitstream export")

    def _tell(self, trainer: Trainer, path: Path, figures: dict[str, float]) -> None:
        """Log the figures of a file."""
        for log in trainer.loggers:
            log.log_metrics({f"bitstream/{key}": value for key, value in figures.items()}, trainer.global_step)
        quality = "PSNR {psnr:.2f} dB (fp32 {psnr_fp32:.2f} dB)" if "psnr" in figures else "no views to measure it on"
        size, ratio = figures["bytes"], figures["ratio"]
        logger.info("%s: %d bytes, %.1fx below fp32, %s", path, size, ratio, quality.format(**figures))

    def measure(self, trainer: Trainer, pl_module: LightningModule, path: Path) -> dict[str, float]:
        """Encode to ``path`` and compare the decoded file with the field in memory."""
        trained = cast(SceneArtifact, pl_module.trained)
        with trained.evaluating():
            container = encode_for(trained, self.target, provenance={"step": trainer.global_step})
        size = write_nfc(container, path)
        figures = {"bytes": size, "ratio": fp32_bytes(trained) / size}
        data = trainer.datamodule  # type: ignore[attr-defined]
        if not data.has("val"):
            return figures
        scene = some_views(data.split("val"), self.views)
        before = mean_result(evaluate_views(trained, scene, "fp32"))
        decoded = of_scene(read_nfc(path, max_elements=2**31), "Views show").to(trained.device)
        after = mean_result(evaluate_views(decoded, scene, "decoded"))
        return figures | {
            "psnr": after.psnr,
            "ssim": after.ssim,
            "psnr_fp32": before.psnr,
            "psnr_drop": before.psnr - after.psnr,
        }
