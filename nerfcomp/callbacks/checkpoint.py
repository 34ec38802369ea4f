"""Checkpoints from which every run resumes, whatever stopped it."""

import logging
import signal
import threading
import warnings
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any, cast

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from nerfcomp.artifacts.artifact import SceneArtifact
from nerfcomp.artifacts.checkpoint import write_checkpoint
from nerfcomp.artifacts.runs import mark_finished
from nerfcomp.errors import DivergedError
from nerfcomp.files import atomic_write
from nerfcomp.readers.torch_file import save_torch_file

logger = logging.getLogger(__name__)
_CHECK_STEPS = 50  # processes agree on the time only this often, as agreeing costs them a message


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write checkpoints beside their final name and rename them.

    Lightning's own writer stages in the folder for temporary files and copies from there when that is another disk, so
    that a killed process leaves half a file.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint; see the base class."""
        if storage_options is not None:
            raise TypeError("Checkpoints are written to local files, which have no storage options.")
        with atomic_write(path) as temporary:
            save_torch_file(checkpoint, temporary)


class RunCheckpoint(ModelCheckpoint):
    """Keep ``checkpoints/last.ckpt`` fresh, so that a killed run loses little and resumes to the same step count.

    The last step of a run is saved before films and exports, which may take long or fail, and once more after them.
    Killed in between, a run resumes at its end and does what was left of them.

    Ctrl-C and SIGTERM let a step end and save it, so that a resumed run is the undisturbed one; a second Ctrl-C ends
    the run at once, with the checkpoint before. A step that fails is never saved: half of it may have been done.

    Args:
        every_minutes: Time between checkpoints.
        every_n_train_steps: Steps between checkpoints; takes the place of ``every_minutes``.
    """

    def __init__(self, every_minutes: float = 2.0, every_n_train_steps: int | None = None) -> None:
        interval = timedelta(minutes=every_minutes) if every_n_train_steps is None else None
        super().__init__(
            save_last=True,
            save_top_k=0,
            enable_version_counter=False,
            every_n_train_steps=every_n_train_steps,
            train_time_interval=interval,
        )
        self._by_time = interval is not None
        self._told: signal.Signals | None = None
        self._inside = self._saved = self._early = False
        self._before: Any = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Put the atomic writer in place of Lightning's plain one."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")  # we resume
            super().setup(trainer, pl_module, stage)
        if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
            trainer.strategy.checkpoint_io = AtomicCheckpointIO()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Delete what was half written when this run was killed before."""
        super().on_train_start(trainer, pl_module)
        self._told, self._inside, self._saved, self._early = None, False, False, False
        self._listen(trainer.world_size == 1)
        if trainer.is_global_zero and self.dirpath is not None:
            for leftover in Path(self.dirpath).glob(f".{self.CHECKPOINT_NAME_LAST}-*{self.FILE_EXTENSION}"):
                leftover.unlink(missing_ok=True)
            mark_finished(self._last, False)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save when it is time, except at the last step; when told to stop, save and stop."""
        self._inside, last = False, trainer.global_step >= trainer.estimated_stepping_batches
        told = self._told or (signal.SIGTERM if trainer.received_sigterm else None)
        if last:
            self._listen(False)  # what comes now is repeated by a resumed run
            if not self._should_skip_saving_checkpoint(trainer):
                self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))
                self._early = True
        if told and trainer.world_size == 1:
            if not last and not self._should_skip_saving_checkpoint(trainer):
                self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))
            self._saved = True
            raise SystemExit(128 + told)
        if not last and not (self._by_time and trainer.global_step % _CHECK_STEPS):
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the end of the run, which is found by its name from now on."""
        self._listen(False)
        if self._early:  # others may have changed what is saved of the last step
            self._last_global_step_saved = -1
        if not self._should_skip_saving_checkpoint(trainer):
            self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))
        if trainer.is_global_zero and self._last.is_file():
            mark_finished(self._last)

    @property
    def _last(self) -> Path:
        return Path(self.dirpath or "") / f"{self.CHECKPOINT_NAME_LAST}{self.FILE_EXTENSION}"

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Save what a crash interrupts between two steps; half a step is not saved, the checkpoint before stays.

        Not with several processes, where one would wait for the others. A run that has diverged keeps the checkpoint
        before, and so does one whose disk is full.
        """
        self._listen(False)
        between = not (self._inside or self._saved)
        if between and trainer.world_size == 1 and not self._should_skip_saving_checkpoint(trainer):
            trainer.fit_loop.epoch_loop.batch_progress.total.reset_on_restart()  # what was only drawn is drawn again
            with suppress(DivergedError, OSError):
                self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """A step begins."""
        self._inside = True

    def _listen(self, listening: bool) -> None:
        """Take note of Ctrl-C instead of being interrupted by it, or leave it to others again."""
        if threading.current_thread() is not threading.main_thread():
            return
        if listening and self._before is None:
            self._before = signal.signal(signal.SIGINT, self._note)
        elif not listening and self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            self._before = None

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._told:
            self._listen(False)
            raise KeyboardInterrupt
        logger.info("Stopping after this step, which is saved; Ctrl-C again stops at once.")
        self._told = signal.SIGINT


class StepCheckpoint(Callback):
    """Keep the field as it was at chosen steps, hooks and all, as ``reconstructed/ckpt_step<n>.pt``.

    Args:
        every_n_steps: Steps between two of them.

    Raises:
        ValueError: If ``every_n_steps`` is below 1.
    """

    def __init__(self, every_n_steps: int) -> None:
        if every_n_steps < 1:
            raise ValueError(f"StepCheckpoint needs every_n_steps of at least 1, got {every_n_steps}.")
        self.every_n_steps = every_n_steps

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write when it is time, unless the run has diverged."""
        step = trainer.global_step
        if not step or step % self.every_n_steps:
            return
        cast(Any, pl_module).check_finite()
        folder = Path(trainer.log_dir or trainer.default_root_dir) / "reconstructed"  # all processes must ask
        if trainer.is_global_zero:
            write_checkpoint(cast(SceneArtifact, pl_module.trained), folder / f"ckpt_step{step}.pt")
