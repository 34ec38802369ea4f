"""When layers begin to compute with integers, and when the ranges of their inputs stand still."""

from typing import Any

from lightning import Callback, LightningModule, Trainer

from nerfcomp.artifacts.integers import take_ranges
from nerfcomp.compression import freeze_ranges, wait_for_input
from nerfcomp.descriptions import require_between


class FreezeRanges(Callback):
    """Let ranges of activations move up to a step and stand still from then on; what decides is the step alone.

    When they are frozen, ranges are taken anew from what the model is used for, as in calibration: pictures ask a field
    where training has no samples. The steps that follow are made with these.

    Args:
        after: Steps before they are frozen, learned steps of the ranges included.
        begin: Steps before anything is rounded. A field that begins at random needs them: its weights and ranges are
            still to grow, and one schedule serves for both.
        batches: How much of what the model is used for is looked at when they are frozen, see `take_ranges`.

    Raises:
        ValueError: No step in between, or no batch, without which no range is known.
    """

    def __init__(self, after: int = 500, begin: int = 0, batches: int = 8) -> None:
        require_between(1, batches=batches)
        if not 0 <= begin < after:
            raise ValueError(f"Ranges are frozen at least 1 step after rounding begins, got {after} and {begin}.")
        self.after = after
        self.begin = begin
        self.batches = batches

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Begin and freeze when due."""
        step = trainer.global_step
        if step <= self.begin:
            wait_for_input(pl_module, step < self.begin)
        elif step == self.after:
            stage: Any = pl_module
            take_ranges(stage.trained, self.batches)
            stage.share_ranges()
        else:
            freeze_ranges(pl_module, step > self.after)
