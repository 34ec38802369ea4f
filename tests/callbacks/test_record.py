"""The record of a run: complete, and the same when the run was interrupted."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lightning import Trainer

from nerfcomp.callbacks import ResultFile
from nerfcomp.evaluation.result_file import read_record
from tests.tiny import TinyModule, tiny_data

MakeTrainer = Callable[..., Trainer]


class LossModule(TinyModule):
    """A tiny module that returns its PSNR, too."""

    def training_step(self, batch: Any) -> Any:
        out = super().training_step(batch)
        return {**out, "psnr": -10 * out["loss"].detach().log10()}


def test_every_iteration_is_recorded(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    make_trainer(max_steps=7, callbacks=[ResultFile(every_n_steps=3)], limit_val_batches=0).fit(
        LossModule(), datamodule=tiny_data()
    )
    record = read_record(tmp_path / "result.txt")
    assert len(record.psnr) == len(record.loss) == 7 and record.bad == ()
    assert record.psnr[2] == pytest.approx(-10 * math.log10(record.loss[2]), abs=1e-3)


def test_a_resumed_run_goes_on_with_the_record(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    def fit(steps: int, ckpt: Path | None = None) -> list[float]:
        trainer = make_trainer(max_steps=steps, callbacks=[ResultFile()], limit_val_batches=0)
        trainer.fit(LossModule(), datamodule=tiny_data(), ckpt_path=ckpt, weights_only=True)
        trainer.save_checkpoint(tmp_path / "a.ckpt")
        losses: list[float] = read_record(tmp_path / "result.txt").loss.tolist()
        return losses

    straight = fit(6)
    fit(4)
    assert fit(6, tmp_path / "a.ckpt") == straight


def test_what_a_step_must_return(make_trainer: MakeTrainer) -> None:
    with pytest.raises(ValueError, match="needs psnr and loss"):
        make_trainer(max_steps=1, callbacks=[ResultFile()], limit_val_batches=0).fit(
            TinyModule(), datamodule=tiny_data()
        )
    with pytest.raises(ValueError, match="every_n_steps"):
        ResultFile(0)
