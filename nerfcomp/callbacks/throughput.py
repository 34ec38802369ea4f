"""How fast a run is, and how long it still takes."""

import math
import time
from collections.abc import Mapping
from typing import Any

import psutil
import torch
from lightning import Callback, LightningModule, Trainer

from nerfcomp.geometry.rays import RayBatch

_MIB = 2**20


class _Window:
    """What happened since ``began``; tensors are kept unread, because reading them waits for the accelerator."""

    def __init__(self, began: float) -> None:
        self.began = began
        self.pause = 0.0
        self.rays: list[torch.Tensor] = []
        self.samples_per_ray: list[torch.Tensor] = []

    def add(self, outputs: Mapping[str, Any], n_rays: int) -> None:
        """Count one step."""
        self.rays.append(torch.as_tensor(outputs.get("rays", n_rays)))
        if "samples_per_ray" in outputs:
            self.samples_per_ray.append(torch.as_tensor(outputs["samples_per_ray"]).detach())

    def metrics(self, world_size: int) -> dict[str, float]:
        """Speeds until now."""
        seconds = max(time.perf_counter() - self.began - self.pause, 1e-9)
        metrics = {
            "steps_per_second": len(self.rays) / seconds,
            "rays_per_second": float(torch.stack(self.rays).double().sum()) * world_size / seconds,
        }
        if self.samples_per_ray:
            metrics["samples_per_ray"] = float(torch.stack(self.samples_per_ray).double().mean())
        return metrics


class Throughput(Callback):
    """Log steps and rays per second, samples per ray, seconds per image, memory, time spent and time left.

    Names begin with ``throughput/``. Speeds leave out validation, but no other work
    between steps; times count everything since training began, summed
    over interrupted and resumed sessions. The module's training step may return ``samples_per_ray``, and ``rays``
    when it used fewer rays than the batch has.

    Args:
        every_n_steps: Steps between two entries.

    Raises:
        ValueError: If ``every_n_steps`` is below 1.
    """

    def __init__(self, every_n_steps: int = 50) -> None:
        if every_n_steps < 1:
            raise ValueError(f"Throughput needs every_n_steps of at least 1, got {every_n_steps}.")
        self.every_n_steps = every_n_steps
        self._before = 0.0  # seconds of earlier sessions
        self._began: float | None = None
        self._warm: tuple[float, int] | None = None  # time and step after the first step, which may compile kernels
        self._image_began = 0.0
        self._image_seconds: list[float] = []
        self._paused_at = 0.0
        self._logged = 0  # number of the last entry
        self._window = _Window(0.0)

    @property
    def seconds(self) -> float:
        """Wall-clock seconds of training so far, over all sessions."""
        return self._before + (time.perf_counter() - self._began if self._began is not None else 0.0)

    def state_dict(self) -> dict[str, Any]:
        """Time spent, for checkpoints."""
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting where the interrupted session stopped."""
        self._before = float(state_dict["seconds"])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._began, self._warm = time.perf_counter(), None
        self._logged = trainer.global_step // self.every_n_steps

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: RayBatch, batch_idx: int
    ) -> None:
        """Count a step; log when a window is full."""
        if not trainer.is_global_zero:
            return
        if self._warm is None:
            self._warm = (time.perf_counter(), trainer.global_step)
            self._window = _Window(self._warm[0])
            return
        self._window.add(outputs if isinstance(outputs, Mapping) else {}, len(batch.rgb))
        if trainer.global_step // self.every_n_steps > self._logged:
            self._logged = trainer.global_step // self.every_n_steps
            _log(trainer, self._metrics(trainer))
            self._window = _Window(time.perf_counter())

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock."""
        self._before, self._began = self.seconds, None

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Do not count validation as training."""
        self._paused_at = time.perf_counter()
        self._image_seconds.clear()

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: RayBatch, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Begin to time an image."""
        _wait(pl_module)
        self._image_began = time.perf_counter()

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: RayBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Time an image."""
        if batch.height > 0:
            _wait(pl_module)
            self._image_seconds.append(time.perf_counter() - self._image_began)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the mean time of an image."""
        self._window.pause += time.perf_counter() - self._paused_at
        self._log_images(trainer)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget the times of other images."""
        self._image_seconds.clear()

    def on_test_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: RayBatch, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Begin to time an image."""
        self.on_validation_batch_start(trainer, pl_module, batch, batch_idx, dataloader_idx)

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: RayBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Time an image."""
        self.on_validation_batch_end(trainer, pl_module, outputs, batch, batch_idx, dataloader_idx)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the mean time of an image."""
        self._log_images(trainer)

    def _metrics(self, trainer: Trainer) -> dict[str, float]:
        metrics = self._window.metrics(trainer.world_size)
        metrics["minutes"] = self.seconds / 60
        metrics["memory_mib"] = psutil.Process().memory_info().rss / _MIB
        if (left := self._seconds_left(trainer)) is not None:
            metrics["minutes_left"] = left / 60
        device = trainer.strategy.root_device
        if device.type == "cuda":
            metrics["gpu_memory_mib"] = torch.cuda.max_memory_allocated(device) / _MIB
        return metrics

    def _seconds_left(self, trainer: Trainer) -> float | None:
        """Steps left at the mean pace since the first step, validation included; None in a run without end."""
        total, step = trainer.estimated_stepping_batches, trainer.global_step
        assert self._warm is not None
        since, first = self._warm
        if math.isinf(total) or step == first:
            return None
        return (total - step) * (time.perf_counter() - since) / (step - first)

    def _log_images(self, trainer: Trainer) -> None:
        if self._image_seconds and not trainer.sanity_checking:
            _log(trainer, {"seconds_per_image": sum(self._image_seconds) / len(self._image_seconds)})


def _log(trainer: Trainer, metrics: dict[str, float]) -> None:
    for logger in trainer.loggers:
        logger.log_metrics({f"throughput/{name}": value for name, value in metrics.items()}, trainer.global_step)


def _wait(module: LightningModule) -> None:
    """Let the accelerator finish, so that clocks tell the time of the work and not of its launch."""
    if module.device.type == "cuda":
        torch.cuda.synchronize(module.device)
