"""A callback that leaves behind what each process saw, for tests to compare."""

from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer


class RankDump(Callback):
    """Write losses and numbers of rays of all steps, weights and occupancy of this rank at the end of training.

    Args:
        folder: Gets ``rank<r>.pt``.
    """

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        self.losses: list[float] = []
        self.rays: list[int] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *_: Any) -> None:
        self.losses.append(float(outputs["loss"]))
        self.rays.append(int(outputs.get("rays", 0)))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        content = {
            "losses": self.losses,
            "rays": self.rays,
            "state": pl_module.state_dict(),
            "step": trainer.global_step,
        }
        torch.save(content, self.folder / f"rank{trainer.global_rank}.pt")
