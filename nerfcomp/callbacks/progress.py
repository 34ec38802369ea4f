"""One progress bar for the whole run."""

import math
import sys
import time
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm


class RunProgressBar(TQDMProgressBar):
    """Count optimizer steps of the whole run, so that the remaining time is that of the run and not of an epoch.

    Epochs are a matter of bookkeeping when rays are drawn without end. A resumed run starts at its step and its speed
    counts from there. Written to a file or a pipe, the bar appears twice a minute.

    Args:
        refresh_seconds: Time between updates in a terminal; 0 shows no bar.
    """

    def __init__(self, refresh_seconds: float = 0.2) -> None:
        super().__init__(refresh_rate=1 if refresh_seconds > 0 else 0)
        self._interval = refresh_seconds if sys.stdout.isatty() else 30.0
        self._shown = -math.inf

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the bar at the step where the run stands."""
        super().on_train_start(trainer, pl_module)
        total, bar = trainer.estimated_stepping_batches, self.train_progress_bar
        bar.total = None if math.isinf(total) else int(total)
        bar.initial = bar.n = trainer.global_step
        bar.set_description("Training")

    def on_train_epoch_start(self, trainer: Trainer, *_: Any) -> None:
        """Keep the bar: an epoch is not the end of anything."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the bar when it is due."""
        now = time.monotonic()
        if now - self._shown >= self._interval or trainer.global_step == self.train_progress_bar.total:
            self._shown = now
            self._move(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the bar as it is."""

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the bar of the views and show their score beside the steps."""
        super().on_validation_end(trainer, pl_module)
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._move(trainer, pl_module)

    def init_sanity_tqdm(self) -> Tqdm:
        """Bar of the first views; none in a file."""
        return super().init_sanity_tqdm() if sys.stdout.isatty() else Tqdm(disable=True)

    def init_validation_tqdm(self) -> Tqdm:
        """Bar of the validation views; in a file only when validation is all there is."""
        quiet = self.trainer.state.fn == "fit" and not sys.stdout.isatty()
        return Tqdm(disable=True) if quiet else super().init_validation_tqdm()

    def init_predict_tqdm(self) -> Tqdm:
        """Bar of the predicted views; none in a file, where the writer of the views says how far it is."""
        return super().init_predict_tqdm() if sys.stdout.isatty() else Tqdm(disable=True)

    def get_metrics(
        self, trainer: Trainer, pl_module: LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        """What the module logged for the bar, without Lightning's version number."""
        metrics = super().get_metrics(trainer, pl_module)
        return {name: value for name, value in metrics.items() if name != "v_num"}

    def _move(self, trainer: Trainer, module: LightningModule) -> None:
        if self.is_enabled and not self.train_progress_bar.disable:
            self.train_progress_bar.n = trainer.global_step
            self.train_progress_bar.set_postfix(self.get_metrics(trainer, module))
