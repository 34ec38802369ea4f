from pathlib import Path

from lightning import Trainer

from nerfcomp.callbacks.step_clock import StepClock
from tests.tiny import TinyModule, tiny_data


def test_the_clock_is_read_once_after_every_step(tmp_path: Path) -> None:
    readings = iter([1.0, 3.0, 7.0])
    clock = StepClock(lambda: next(readings))
    trainer = Trainer(
        accelerator="cpu",
        default_root_dir=tmp_path,
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        max_steps=3,
        callbacks=[clock],
        limit_val_batches=0,
        num_sanity_val_steps=0,
    )
    trainer.fit(TinyModule(), datamodule=tiny_data())
    assert clock.ends == [1.0, 3.0, 7.0]
