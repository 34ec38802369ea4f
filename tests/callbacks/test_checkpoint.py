import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, LightningModule, Trainer

from nerfcomp.callbacks import AtomicCheckpointIO, RunCheckpoint
from tests.tiny import TinyModule, tiny_data

MakeTrainer = Callable[..., Trainer]


class Watch(Callback):
    """Notes the step in ``last.ckpt`` after every batch and before the run ends."""

    def __init__(self, last: Path) -> None:
        self.last = last
        self.saved: list[int] = []

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        self.on_train_end(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        step = torch.load(self.last, weights_only=True)["global_step"] if self.last.exists() else 0
        self.saved.append(step)


def fit(make_trainer: MakeTrainer, checkpoint: RunCheckpoint, *callbacks: Callback, **options: Any) -> Trainer:
    everything = {"enable_checkpointing": True, "limit_val_batches": 0, "max_steps": 10, **options}
    trainer = make_trainer(callbacks=[checkpoint, *callbacks], **everything)
    trainer.fit(TinyModule(), datamodule=tiny_data(steps_per_epoch=4))
    return trainer


@pytest.mark.parametrize(
    ("every", "expected"), [(4, [0] * 4 + [4] * 4 + [8] * 2 + [10]), (5, [0] * 5 + [5] * 5 + [10])]
)
def test_one_file_fresh_every_few_steps_and_the_end_before_films_and_exports(
    make_trainer: MakeTrainer, tmp_path: Path, every: int, expected: list[int]
) -> None:
    last = tmp_path / "checkpoints" / "last.ckpt"
    watch = Watch(last)
    fit(make_trainer, RunCheckpoint(every_n_train_steps=every), watch)
    assert watch.saved == expected  # the last step is saved before other callbacks end the run
    assert torch.load(last, weights_only=True)["global_step"] == 10
    assert sorted(path.name for path in last.parent.iterdir()) == ["finished", "last.ckpt"]


@pytest.mark.slow
def test_time_is_looked_at_every_fifty_steps(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    watch = Watch(tmp_path / "checkpoints" / "last.ckpt")
    fit(make_trainer, RunCheckpoint(every_minutes=0.0), watch, max_steps=110)
    assert sorted(set(watch.saved)) == [0, 50, 100, 110]  # and at the end


def test_crash_leaves_a_checkpoint_of_the_step(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "finished").touch()  # the run had been over, and went on

    class Crash(Callback):
        def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
            if trainer.global_step == 3:
                raise RuntimeError("out of luck")

    with pytest.raises(RuntimeError, match="out of luck"):
        fit(make_trainer, RunCheckpoint(), Crash())
    last = tmp_path / "checkpoints" / "last.ckpt"
    assert torch.load(last, weights_only=True)["global_step"] == 3
    assert [path.name for path in last.parent.iterdir()] == ["last.ckpt"]
    resumed, straight = (after(make_trainer, ckpt, RunCheckpoint()) for ckpt in (last, None))
    assert torch.equal(resumed, straight)


def after(make_trainer: MakeTrainer, ckpt: Path | None, *callbacks: Callback) -> torch.Tensor:
    """Weights at the end of a run of ten steps, resumed or not."""
    module = TinyModule()
    options = {"enable_checkpointing": True, "limit_val_batches": 0, "max_steps": 10}
    make_trainer(callbacks=list(callbacks), **options).fit(
        module, datamodule=tiny_data(steps_per_epoch=4), ckpt_path=ckpt
    )
    return module.linear.weight.detach()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_in_a_step_lets_it_end_and_the_resumed_run_is_the_undisturbed_one(
    make_trainer: MakeTrainer, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    class Stop(Callback):
        def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
            if trainer.global_step == 5:
                signal.raise_signal(number)

    last, before = tmp_path / "checkpoints" / "last.ckpt", signal.getsignal(signal.SIGINT)
    with pytest.raises(SystemExit) as stopped:
        fit(make_trainer, RunCheckpoint(), Stop())
    assert stopped.value.code == status and signal.getsignal(signal.SIGINT) is before
    assert torch.load(last, weights_only=True)["global_step"] == 6
    resumed, straight = TinyModule(), TinyModule()
    options = {"enable_checkpointing": True, "limit_val_batches": 0, "max_steps": 10}
    make_trainer(callbacks=[RunCheckpoint()], **options).fit(
        resumed, datamodule=tiny_data(steps_per_epoch=4), ckpt_path=last
    )
    make_trainer(callbacks=[], **options).fit(straight, datamodule=tiny_data(steps_per_epoch=4))
    assert torch.equal(resumed.linear.weight, straight.linear.weight)


def test_half_a_step_is_never_saved(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    class Crash(Callback):
        def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
            if trainer.global_step == 3:
                raise RuntimeError("out of luck")

    with pytest.raises(RuntimeError, match="out of luck"):
        fit(make_trainer, RunCheckpoint(every_n_train_steps=2), Crash())
    assert torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 2


def test_finished_run_resumes_to_nothing_and_goes_on_when_asked(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    last = tmp_path / "checkpoints" / "last.ckpt"
    fit(make_trainer, RunCheckpoint())
    for end, steps in ((10, 0), (13, 3)):
        module = TinyModule(keep_batches=True)
        trainer = make_trainer(
            callbacks=[RunCheckpoint()], enable_checkpointing=True, limit_val_batches=0, max_steps=end
        )
        trainer.fit(module, datamodule=tiny_data(steps_per_epoch=4), ckpt_path=last)
        assert trainer.global_step == end
        assert len(module.seen) == steps


def test_last_is_found_by_its_name(make_trainer: MakeTrainer) -> None:
    trainer = fit(make_trainer, RunCheckpoint())
    module = TinyModule()
    torch.nn.init.zeros_(module.linear.weight)
    trainer.validate(module, datamodule=tiny_data(), ckpt_path="last", verbose=False)
    assert module.linear.weight.abs().sum() > 0


def test_half_written_files_are_swept_away(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    (folder / ".last-abc123.ckpt").write_bytes(b"half")
    (folder / "mine.ckpt").write_bytes(b"whole")
    fit(make_trainer, RunCheckpoint())
    assert sorted(path.name for path in folder.iterdir()) == ["finished", "last.ckpt", "mine.ckpt"]


def test_failed_write_keeps_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = AtomicCheckpointIO()
    writer.save_checkpoint({"step": 1}, tmp_path / "last.ckpt")

    def half(_: object, sink: Any) -> None:
        sink.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(OSError, match="disk full"):
        writer.save_checkpoint({"step": 2}, tmp_path / "last.ckpt")
    assert torch.load(tmp_path / "last.ckpt", weights_only=True) == {"step": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]


def test_storage_options_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="local files"):
        AtomicCheckpointIO().save_checkpoint({}, tmp_path / "last.ckpt", storage_options={"a": 1})
