import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Trainer
from lightning.pytorch.loggers import CSVLogger

from nerfcomp.callbacks import Throughput
from tests.tiny import TinyModule, tiny_data

MakeTrainer = Callable[..., Trainer]


class Recorder(CSVLogger):
    """Keeps what is logged."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.entries: dict[str, list[tuple[int, float]]] = {}

    def log_metrics(self, metrics: dict[str, Any], step: int | None = None) -> None:
        for name, value in metrics.items():
            if name.startswith("throughput/"):
                self.entries.setdefault(name.removeprefix("throughput/"), []).append((step or 0, value))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[], float]:
    """A clock that only training steps and views move: a second each step, ten each view."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    class Module(TinyModule):
        def training_step(self, batch: Any) -> dict[str, torch.Tensor]:
            now[0] += 1
            return {**super().training_step(batch), "rays": torch.tensor(12.0)}

        def render_image(self, *args: Any) -> Any:
            now[0] += 10
            return super().render_image(*args)

    monkeypatch.setattr("tests.callbacks.test_throughput.TinyModule", Module)
    return lambda: now[0]


def run(
    make_trainer: MakeTrainer, root: Path, callback: Throughput, **options: Any
) -> dict[str, list[tuple[int, float]]]:
    recorder = Recorder(root)
    trainer = make_trainer(
        logger=recorder, callbacks=[callback], num_sanity_val_steps=0, log_every_n_steps=1, **options
    )
    trainer.fit(TinyModule(), datamodule=tiny_data(batch_size=16, steps_per_epoch=10))
    return recorder.entries


def test_speeds_leave_out_validation_and_times_do_not(
    make_trainer: MakeTrainer, tmp_path: Path, clock: Callable[[], float]
) -> None:
    entries = run(make_trainer, tmp_path, Throughput(every_n_steps=5), max_steps=20)
    assert [step for step, _ in entries["steps_per_second"]] == [5, 10, 15, 20]
    assert [value for _, value in entries["steps_per_second"]] == [1.0] * 4
    assert [value for _, value in entries["rays_per_second"]] == [12.0] * 4
    assert [value for _, value in entries["samples_per_ray"]] == [3.0] * 4
    assert [value for _, value in entries["seconds_per_image"]] == [10.0, 10.0]
    # five views of ten seconds after step 10: 15 + 50 seconds at step 15
    assert [60 * value for _, value in entries["minutes"]] == pytest.approx([5, 10, 65, 70])
    # 64 seconds passed since the first of 15 steps, five are left
    assert [60 * value for _, value in entries["minutes_left"]] == pytest.approx([15, 10, 5 * 64 / 14, 0])
    assert entries["memory_mib"][0][1] > 50
    assert "gpu_memory_mib" not in entries


def test_time_adds_up_over_sessions(make_trainer: MakeTrainer, tmp_path: Path, clock: Callable[[], float]) -> None:
    first, second = Throughput(), Throughput()
    run(make_trainer, tmp_path, first, max_steps=7, limit_val_batches=0)
    second.load_state_dict(first.state_dict())
    run(make_trainer, tmp_path, second, max_steps=3, limit_val_batches=0)
    assert second.seconds == clock() == 10


@pytest.mark.slow
def test_runs_without_end_have_no_time_left(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    entries = run(make_trainer, tmp_path, Throughput(2), max_epochs=-1, max_time={"seconds": 1}, limit_val_batches=0)
    assert "steps_per_second" in entries and "minutes_left" not in entries


def test_plain_losses_and_no_logger_are_fine(make_trainer: MakeTrainer) -> None:
    class Plain(TinyModule):
        def training_step(self, batch: Any) -> torch.Tensor:  # type: ignore[override]
            return super().training_step(batch)["loss"]

    make_trainer(max_steps=5, callbacks=[Throughput(2)]).fit(Plain(), datamodule=tiny_data())


def test_test_views_are_timed(make_trainer: MakeTrainer, tmp_path: Path, clock: Callable[[], float]) -> None:
    recorder = Recorder(tmp_path)
    make_trainer(logger=recorder, callbacks=[Throughput()]).test(TinyModule(), datamodule=tiny_data(), verbose=False)
    assert recorder.entries["seconds_per_image"] == [(0, 10.0)]


def test_senseless_interval_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Throughput(0)
