"""How long steps take, for budgets of time that are turned into steps."""

import time
from collections.abc import Callable
from typing import Any

from lightning import Callback, LightningModule, Trainer


class StepClock(Callback):
    """Take the time of every step.

    Args:
        now: The clock, in seconds.

    Attributes:
        ends: What it showed after each step.
    """

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self.now = now
        self.ends: list[float] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Note the time."""
        self.ends.append(self.now())
