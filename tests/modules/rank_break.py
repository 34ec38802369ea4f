"""A callback that lets one process see what the others do not, for tests."""

import math

import torch
from lightning import Callback, LightningModule, Trainer


class RankBreak(Callback):
    """Tell one process at one step that its loss is infinite.

    Args:
        rank: Of the process.
        step: Of the training.
    """

    def __init__(self, rank: int, step: int) -> None:
        self.rank = rank
        self.step = step

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: torch.Tensor) -> None:
        if (trainer.global_rank, trainer.global_step) == (self.rank, self.step):
            pl_module.on_before_backward(torch.tensor(math.inf))
