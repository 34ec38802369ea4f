"""When the ranges of activations stand still, in training for integers."""

from typing import Any

from lightning import Callback, LightningModule, Trainer

from nerfcomp.compression import freeze_ranges


class FreezeRanges(Callback):
    """Let ranges of activations move up to a step and stand still from then on; what decides is the step alone.

    Args:
        after: Steps before they are frozen, learned steps of the ranges included.

    Raises:
        ValueError: Fewer than one step, without which no range is known.
    """

    def __init__(self, after: int = 500) -> None:
        if after < 1:
            raise ValueError(f"Ranges are frozen after at least 1 step, got {after}.")
        self.after = after

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Freeze when due."""
        freeze_ranges(pl_module, trainer.global_step >= self.after)
