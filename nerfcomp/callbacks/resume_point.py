"""Stopping a run by hand without losing what it has learned."""

import signal
import time
from pathlib import Path
from types import FrameType
from typing import Any

from lightning import Callback, LightningModule, Trainer


class ResumePoint(Callback):
    """Keep a checkpoint to go on from, and let Ctrl-C end the run after the current step.

    Unlike the last checkpoint of a finished run, it holds the weights before anything that the end of a run does to
    them: callbacks that round weights come after this one. A second Ctrl-C ends the program at once.

    Args:
        path: The checkpoint.
        every_seconds: Time between checkpoints.

    Attributes:
        stopped: Ctrl-C has ended the run.
    """

    def __init__(self, path: Path, every_seconds: float = 60.0) -> None:
        self.path = path
        self.every_seconds = every_seconds
        self.stopped = False
        self._told = False
        self._before: Any = None
        self._saved = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listen to Ctrl-C."""
        self._saved = time.monotonic()
        self._before = signal.signal(signal.SIGINT, self._note)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Save when it is time, or for the last time."""
        if self._told or time.monotonic() - self._saved > self.every_seconds:
            trainer.save_checkpoint(self.path)
            self._saved = time.monotonic()
        if self._told:
            self.stopped = trainer.should_stop = True

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave Ctrl-C to others."""
        self._release()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave Ctrl-C to others."""
        self._release()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._told:
            raise KeyboardInterrupt
        self._told = True

    def _release(self) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            self._before = None
