"""The file of a run that crashed and went on is that of a run that nothing disturbed."""

from pathlib import Path
from typing import Any

import pytest
from lightning import Callback, LightningModule, Trainer

from nerfcomp.callbacks import BitstreamExport, RunCheckpoint
from nerfcomp.modules import RadianceFieldModule
from tests.modules.tiny_fields import data, tiny_ngp


class Crash(Callback):
    """Ends a run between two of its steps."""

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if trainer.global_step == 7:
            raise RuntimeError("out of luck")


def exported(folder: Path, ckpt: Path | None = None, *more: Callback) -> bytes:
    """Train ten steps and return the file."""
    module = RadianceFieldModule(*tiny_ngp(), max_samples=512)
    module.hparams.clear()
    quiet: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    callbacks = [*more, BitstreamExport(uniform=True, views=1), RunCheckpoint(every_n_train_steps=3)]
    trainer = Trainer(
        accelerator="cpu", max_steps=10, limit_val_batches=0, default_root_dir=folder, callbacks=callbacks, **quiet
    )
    trainer.fit(module, datamodule=data(), ckpt_path=ckpt)
    return (folder / "bitstreams" / "step0000010.nfc").read_bytes()


@pytest.mark.slow
def test_the_file_of_a_resumed_run_is_that_of_an_undisturbed_one(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="out of luck"):
        exported(tmp_path / "broken", None, Crash())
    resumed = exported(tmp_path / "broken", tmp_path / "broken" / "checkpoints" / "last.ckpt")
    assert resumed == exported(tmp_path / "straight")
