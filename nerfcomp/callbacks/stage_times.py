"""Where the time of a training step goes: through Lightning's profiler, as a chart and as a table."""

import io
import logging
import time
from collections import defaultdict
from typing import Any

import numpy as np
import psutil
import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.profilers import PassThroughProfiler, Profiler

from nerfcomp.callbacks.media import Picture
from nerfcomp.evaluation.report import format_table

logger = logging.getLogger(__name__)
STAGES = ("rays", "occupancy", "march", "visibility", "field", "compositing", "backward", "optimizer", "other")
_OF_STEP = ("march", "visibility", "field")  # within the training step; what is left of it blends and sums losses
_MIB = 2**20


class StageProfiler(Profiler):
    """Seconds per action of Lightning's hooks and of what modules name themselves.

    Attributes:
        seconds: Since the last `take`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seconds: dict[str, float] = defaultdict(float)
        self._begun: dict[str, float] = {}

    def start(self, action_name: str) -> None:
        """Begin an action."""
        self._begun[action_name] = time.perf_counter()

    def stop(self, action_name: str) -> None:
        """End an action."""
        if action_name in self._begun:
            self.seconds[action_name] += time.perf_counter() - self._begun.pop(action_name)

    def take(self) -> dict[str, float]:
        """Seconds of the stages since the last call, but ``other``."""
        found, self.seconds = self.seconds, defaultdict(float)

        def total(end: str) -> float:
            return sum(value for name, value in found.items() if name.endswith(end))

        stages = {name: found[f"stage {name}"] for name in ("occupancy", *_OF_STEP)}
        step, backward = total("Strategy.training_step"), total("Strategy.backward")
        stages["rays"] = total(".train_dataloader_next")
        stages["compositing"] = step - sum(stages[name] for name in ("occupancy", *_OF_STEP))
        stages["backward"] = backward
        stages["optimizer"] = max(total(".optimizer_step") - step - backward, 0.0)
        return stages


class StageTimes(Callback):
    """Log milliseconds per step of every stage, and memory, as ``stages/...``; draw them and tell them at the end.

    The stages: drawing rays, refreshing the occupancy, marching, finding what light reaches, the field's values,
    compositing with the losses, backward, optimizer, and what lies between steps (callbacks, logging). Validation is
    left out. Accelerators work on while the clock of the next stage runs, so that on them stages are only roughly told
    apart. Without effect where the trainer has a profiler already.

    Args:
        every_n_steps: Steps between two entries.

    Raises:
        ValueError: If ``every_n_steps`` is below 1.
    """

    def __init__(self, every_n_steps: int = 50) -> None:
        if every_n_steps < 1:
            raise ValueError(f"StageTimes needs every_n_steps of at least 1, got {every_n_steps}.")
        self.every_n_steps = every_n_steps
        self.steps: list[int] = []
        self.rows: list[list[float]] = []
        self._profiler: StageProfiler | None = None
        self._since, self._pause, self._paused_at, self._count = 0.0, 0.0, 0.0, 0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give the trainer a profiler that has none."""
        if stage == "fit" and isinstance(getattr(trainer, "profiler", None), PassThroughProfiler):
            self._profiler = StageProfiler()
            trainer.profiler = self._profiler  # type: ignore[attr-defined]

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count a step; the first one, which may compile kernels, is left out."""
        if self._profiler is None:
            return
        self._count += 1
        if not self._since:
            self._begin()
        elif self._count >= self.every_n_steps:
            self._note(trainer, self._profiler)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave validation out."""
        self._paused_at = time.perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave validation out."""
        self._pause += time.perf_counter() - self._paused_at

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the chart and tell the means."""
        if not self.rows or not trainer.is_global_zero:
            return
        means = np.mean(self.rows, axis=0)
        rows = [[name, float(ms), f"{100 * ms / means.sum():.0f} %"] for name, ms in zip(STAGES, means)]
        logger.info("Milliseconds of a step:\n%s", format_table(["stage", "ms", "share"], rows))
        for board in (log for log in trainer.loggers if isinstance(log, TensorBoardLogger)):
            board.experiment.add_image("stages/chart", self.chart(), trainer.global_step, dataformats="HWC")

    def chart(self) -> Picture:
        """(H, W, 3) milliseconds of a step over training, stage upon stage."""
        import imageio.v3 as iio
        from matplotlib.figure import Figure

        figure = Figure(figsize=(8, 4), layout="constrained")
        axes = figure.add_subplot(xlabel="step", ylabel="ms per step")
        axes.stackplot(self.steps, np.array(self.rows).T, labels=STAGES)
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
        with io.BytesIO() as file:
            figure.savefig(file, format="png", dpi=100)
            picture: Picture = iio.imread(file.getvalue())[..., :3]
        return picture

    def _begin(self) -> None:
        assert self._profiler is not None, "asked before"
        self._profiler.take()
        self._since, self._pause, self._count = time.perf_counter(), 0.0, 0

    def _note(self, trainer: Trainer, profiler: StageProfiler) -> None:
        seconds = time.perf_counter() - self._since - self._pause
        stages = profiler.take()
        stages["other"] = max(seconds - sum(stages.values()), 0.0)
        row = [1000 * stages[name] / self._count for name in STAGES]
        self.steps.append(trainer.global_step)
        self.rows.append(row)
        metrics = {f"stages/{name}_ms": value for name, value in zip(STAGES, row)}
        metrics["memory/resident_mib"] = psutil.Process().memory_info().rss / _MIB
        if trainer.strategy.root_device.type == "cuda":
            metrics["memory/gpu_mib"] = torch.cuda.memory_allocated(trainer.strategy.root_device) / _MIB
        for log in trainer.loggers:
            log.log_metrics(metrics, trainer.global_step)
        self._begin()
