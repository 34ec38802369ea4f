"""Stages of a step add up to it."""

import io
from pathlib import Path

import imageio.v3 as iio
import pytest
from lightning import Trainer
from lightning.pytorch.profilers import SimpleProfiler
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]

from nerfcomp.callbacks import RunLogger, StageTimes
from nerfcomp.callbacks.stage_times import STAGES, StageProfiler
from nerfcomp.modules import RadianceFieldModule
from tests.modules.tiny_fields import data, tiny_ngp


def test_what_each_stage_takes_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    profiler = StageProfiler()

    def spend(name: str, seconds: float) -> None:
        with profiler.profile(name):
            now[0] += seconds

    spend("[_TrainingEpochLoop].train_dataloader_next", 1.0)
    with profiler.profile("[LightningModule]Any.optimizer_step"):
        with profiler.profile("[Strategy]SingleDeviceStrategy.training_step"):
            spend("stage occupancy", 2.0)
            spend("stage march", 3.0)
            spend("stage field", 4.0)
            now[0] += 5.0
        spend("[Strategy]SingleDeviceStrategy.backward", 6.0)
        now[0] += 7.0
    wanted = {"rays": 1, "occupancy": 2, "march": 3, "visibility": 0, "field": 4, "compositing": 5, "backward": 6}
    assert profiler.take() == {**wanted, "optimizer": 7} and sum(profiler.take().values()) == 0


def module() -> RadianceFieldModule:
    field, sampler = tiny_ngp()
    return RadianceFieldModule(field, sampler, max_samples=500)


def fit(folder: Path, callback: StageTimes, **options: object) -> Trainer:
    trainer = Trainer(
        max_steps=7, accelerator="cpu", default_root_dir=folder, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, limit_val_batches=0, callbacks=[callback], **options,  # type: ignore[arg-type]
    )  # fmt: skip
    training = module()
    training.hparams.clear()
    trainer.fit(training, datamodule=data())
    return trainer


@pytest.mark.slow
def test_stages_of_a_real_run_add_up(tmp_path: Path) -> None:
    callback = StageTimes(every_n_steps=3)
    fit(tmp_path, callback, logger=RunLogger("tiny", str(tmp_path)), log_every_n_steps=1)
    assert callback.steps == [4, 7] and all(min(row) >= 0 for row in callback.rows)
    for name in ("rays", "march", "visibility", "field", "compositing", "backward", "optimizer"):
        assert callback.rows[0][STAGES.index(name)] > 0, name
    events = EventAccumulator(str(tmp_path / "tiny" / "version_0"), size_guidance={"images": 0})
    events.Reload()
    assert {f"stages/{name}_ms" for name in STAGES} | {"memory/resident_mib"} <= set(events.Tags()["scalars"])
    picture = iio.imread(io.BytesIO(events.Images("stages/chart")[0].encoded_image_string))
    assert picture.shape == (400, 800, 3) and picture.std() > 10


def test_a_profiler_of_the_user_stays(tmp_path: Path) -> None:
    callback, own = StageTimes(every_n_steps=1), SimpleProfiler()
    trainer = fit(tmp_path, callback, logger=False, profiler=own)
    assert vars(trainer)["profiler"] is own and not callback.rows
    assert len(own.recorded_durations["stage field"]) == 7
    with pytest.raises(ValueError, match="at least 1"):
        StageTimes(0)
