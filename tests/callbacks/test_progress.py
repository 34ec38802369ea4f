from collections.abc import Callable
from typing import Any

import pytest
from lightning import LightningModule, Trainer

from nerfcomp.callbacks import RunProgressBar
from tests.tiny import TinyModule, tiny_data

MakeTrainer = Callable[..., Trainer]


class Watched(RunProgressBar):
    """Refreshes at every step and remembers where the bar stood."""

    def __init__(self) -> None:
        super().__init__()
        self._interval = 0.0
        self.stood: list[tuple[int, float | None]] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        super().on_train_batch_end(trainer, pl_module, *args)
        self.stood.append((self.train_progress_bar.n, self.train_progress_bar.total))


def test_bar_counts_the_whole_run_over_epochs(make_trainer: MakeTrainer, capsys: pytest.CaptureFixture[str]) -> None:
    bar = Watched()
    make_trainer(max_steps=8, callbacks=[bar]).fit(TinyModule(), datamodule=tiny_data(steps_per_epoch=3))
    assert bar.stood == [(step, 8) for step in range(1, 9)]
    shown = capsys.readouterr().out
    assert "Training: 100%" in shown and "psnr=" in shown
    assert "Validation" not in shown  # no terminal: no line per view


def test_resumed_bar_starts_at_its_step_and_measures_from_there(make_trainer: MakeTrainer, tmp_path: Any) -> None:
    first = make_trainer(max_steps=5)
    first.fit(TinyModule(), datamodule=tiny_data(steps_per_epoch=3))
    first.save_checkpoint(tmp_path / "five.ckpt")
    bar = Watched()
    make_trainer(max_steps=8, callbacks=[bar]).fit(
        TinyModule(), datamodule=tiny_data(steps_per_epoch=3), ckpt_path=tmp_path / "five.ckpt"
    )
    assert bar.stood == [(6, 8), (7, 8), (8, 8)]
    assert bar.train_progress_bar.initial == 5


def test_epochs_and_accumulated_gradients_give_the_right_total(make_trainer: MakeTrainer) -> None:
    bar = Watched()
    trainer = make_trainer(max_epochs=2, accumulate_grad_batches=2, callbacks=[bar])
    trainer.fit(TinyModule(), datamodule=tiny_data(steps_per_epoch=4))
    assert bar.stood[-1] == (4, 4)


def test_zero_shows_nothing(make_trainer: MakeTrainer, capsys: pytest.CaptureFixture[str]) -> None:
    trainer = make_trainer(max_steps=2, callbacks=[RunProgressBar(refresh_seconds=0)])
    trainer.fit(TinyModule(), datamodule=tiny_data())
    assert "Training" not in capsys.readouterr().out
