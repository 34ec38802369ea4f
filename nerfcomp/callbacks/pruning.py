"""Rounds of pruning and fine-tuning in one run."""

import logging
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn

from nerfcomp.artifacts.artifact import SceneArtifact
from nerfcomp.artifacts.checkpoint import write_checkpoint
from nerfcomp.compression import chosen_weights, extend_masks, hold_masks, named_masks, sparsity_after
from nerfcomp.compression.pruning import Schedule
from nerfcomp.errors import SettingsError
from nerfcomp.evaluation.complexity import Complexity, measure_complexity
from nerfcomp.evaluation.report import format_table, write_csv, write_json
from nerfcomp.evaluation.views import some_views
from nerfcomp.rate_control.targets import RateTarget

logger = logging.getLogger(__name__)


class Prunable(Protocol):
    """A module whose trained weights and their average are both to be pruned."""

    student: nn.Module
    trained: SceneArtifact


class PruningRounds(Callback):
    """Prune, fine-tune, measure; again and again.

    The run's steps are divided into equal rounds. At the beginning of each the weights of least magnitude, over all
    chosen layers at once, are set to zero; their masks, hooks on the weights, add up over the rounds and hold through
    fine-tuning. After each round a row of ``pruning/pruning.csv`` says what the student costs and is worth, beside
    ``round<n>.nfc`` and ``round<n>.ckpt``; row 0 is the student before. Resumed runs go on with masks and table.

    Args:
        rounds: Number of rounds.
        amount: With ``fixed``, the share of the weights left that each round takes; with ``cubic``, the share of zeros
            at the end.
        schedule: How zeros grow over the rounds.
        layers: Names of the weights that are pruned, with ``*`` and ``?``; a ``!`` in front takes names out.
        qp: Quality of the files, see ``compress.py encode``.
        views: Validation views to measure on, evenly spread.

    Raises:
        ValueError: A number out of range.
    """

    def __init__(
        self,
        rounds: int = 3,
        amount: float = 0.3,
        schedule: Schedule = "fixed",
        layers: list[str] = ["*.weight"],  # noqa: B006  # never changed
        qp: int = -24,
        views: int = 4,
    ) -> None:
        if rounds < 1 or views < 1 or not 0 < amount < 1:
            raise ValueError(
                f"PruningRounds needs rounds and views >= 1 and amount in (0, 1), got {rounds}, {views} and {amount}."
            )
        self.rounds = rounds
        self.amount = amount
        self.schedule: Schedule = schedule
        self.layers = layers
        self.target = RateTarget(qp)
        self.views = views
        self._early_masks: dict[str, Tensor] | None = None
        self.round = 0  # rounds that have begun
        self.rows: list[Complexity] = []

    def state_dict(self) -> dict[str, Any]:
        """Rounds and table, for checkpoints; masks are with the weights."""
        return {"turn": self.round, "rows": [row._asdict() for row in self.rows]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with rounds and table, and with the masks that runs of before kept here."""
        self.round, self._early_masks = state_dict["turn"], state_dict.get("masks")
        self.rows = [Complexity(**row) for row in state_dict["rows"]]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse runs too short for the rounds, or without views to measure them on."""
        total = trainer.estimated_stepping_batches
        if total == float("inf") or total < self.rounds:
            raise SettingsError(f"{self.rounds} rounds need a run of as many steps or more: give --trainer.max_steps.")
        if not trainer.datamodule.has("val"):  # type: ignore[attr-defined]
            raise SettingsError(
                "Rounds are measured on validation views, and this scene has none: set the reader's val_hold."
            )
        self._steps = -(-int(total) // self.rounds)
        chosen_weights(cast(Prunable, pl_module).student, self.layers)
        if self._early_masks is not None:
            hold(cast(Prunable, pl_module), self._early_masks)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """When a round begins, measure the one before and prune."""
        if self.round >= self.rounds or trainer.global_step < self.round * self._steps:
            return
        self._measure(trainer, pl_module)
        self.round += 1
        student = cast(Prunable, pl_module).student
        weights, held = chosen_weights(student, self.layers), named_masks(student)
        before = {name: held.get(name, torch.ones_like(weight, dtype=torch.bool)) for name, weight in weights.items()}
        sparsity = sparsity_after(self.round, self.rounds, self.amount, self.schedule)
        hold(cast(Prunable, pl_module), extend_masks(weights, before, sparsity))
        logger.info(
            "Round %d of %d: %.1f %% of the chosen weights become zero.", self.round, self.rounds, 100 * sparsity
        )

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure the last round and show the table."""
        self._measure(trainer, pl_module)
        if trainer.is_global_zero:
            logger.info("%s", format_table(Complexity._fields, self.rows))

    def _measure(self, trainer: Trainer, module: LightningModule) -> None:
        """Add the row of the round that is over, on rank zero; the other ranks wait."""
        stage = f"round {self.round}" if self.round else "before"
        folder = Path(trainer.log_dir or trainer.default_root_dir) / "pruning"  # all processes must ask
        if trainer.is_global_zero and stage not in [row.stage for row in self.rows]:
            name = stage.replace(" ", "")
            trained = cast(Prunable, module).trained
            scene = some_views(trainer.datamodule.split("val"), self.views)  # type: ignore[attr-defined]
            with trained.evaluating():
                row = measure_complexity(trained, stage, scene, folder / f"{name}.nfc", self.target)
            self.rows.append(row)
            write_checkpoint(trained, folder / f"{name}.ckpt")
            write_csv(folder / "pruning.csv", self.rows)
            write_json(folder / "pruning.json", {"rows": [row._asdict() for row in self.rows]})
            figures = {f"pruning/{key}": value for key, value in row._asdict().items() if key != "stage"}
            for log in trainer.loggers:
                log.log_metrics(figures, trainer.global_step)
            logger.info("%s", format_table(Complexity._fields, [row]))
        trainer.strategy.barrier("pruning")


def hold(prunable: Prunable, masks: dict[str, Tensor]) -> None:
    """Mask weights of the student and of its average."""
    for network in (prunable.student, prunable.trained.field):
        hold_masks(network, masks)
