"""The record of every iteration, as a text file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer

from nerfcomp.errors import SettingsError
from nerfcomp.evaluation.result_file import write_record


class ResultFile(Callback):
    """Write PSNR and loss of every iteration to ``result.txt`` in the folder of the run.

    The training step must return ``psnr`` and ``loss``. With several processes they are those of rank zero. A resumed
    run goes on with the record that its checkpoint holds.

    Args:
        every_n_steps: Iterations between two updates of the file.

    Raises:
        ValueError: If ``every_n_steps`` is below 1.
    """

    def __init__(self, every_n_steps: int = 500) -> None:
        if every_n_steps < 1:
            raise ValueError(f"ResultFile needs every_n_steps of at least 1, got {every_n_steps}.")
        self.every_n_steps = every_n_steps
        self.rows: list[tuple[float, float]] = []

    def state_dict(self) -> dict[str, Any]:
        """The record so far, for checkpoints."""
        return {"rows": torch.tensor(self.rows, dtype=torch.float64).reshape(-1, 2)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the record of an interrupted run."""
        self.rows = [(psnr, loss) for psnr, loss in state_dict["rows"].tolist()]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the run's folder, for which all processes must ask."""
        self._folder = Path(trainer.log_dir or trainer.default_root_dir)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note one iteration."""
        if not trainer.is_global_zero:
            return
        if not isinstance(outputs, Mapping) or not {"psnr", "loss"} <= outputs.keys():
            raise SettingsError(f"ResultFile needs psnr and loss of {type(pl_module).__name__}'s training step.")
        self.rows.append((float(outputs["psnr"]), float(outputs["loss"])))
        if len(self.rows) % self.every_n_steps == 0:
            self.write()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write what is not written yet."""
        if trainer.is_global_zero and self.rows:
            self.write()

    def write(self) -> None:
        """Write the whole file anew."""
        psnr, loss = zip(*self.rows)
        write_record(self._folder / "result.txt", psnr, loss)
