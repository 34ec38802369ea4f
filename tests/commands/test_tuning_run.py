"""``compress.py encode --tune``: within its limit, the better file, resumed after a kill."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from nerfcomp.artifacts.nfc import read_nfc
from nerfcomp.callbacks import RunProgressBar
from nerfcomp.callbacks.resume_point import ResumePoint
from nerfcomp.commands import tuning_run
from nerfcomp.commands.program import main
from nerfcomp.commands.tuned_encoding import _better, _File
from nerfcomp.commands.tuning_run import seconds_of, tuned_field
from nerfcomp.compression import plain_parameters
from nerfcomp.errors import NerfcompError
from nerfcomp.readers import ProceduralReader
from tests.modules.tiny_fields import save, tiny_ngp

READER = ["--reader", "ProceduralReader", "--reader.image_size=16", "--reader.n_train=4", "--reader.n_val=1"]
LIMIT = 2500


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few steps and few rays."""
    monkeypatch.setattr("nerfcomp.artifacts.radiance_field._RAYS", 128)
    monkeypatch.setattr(tuning_run, "_RAYS", 64)
    monkeypatch.setattr(tuning_run, "_step_seconds", lambda options, reader: options.seconds / 25)


@pytest.fixture()
def checkpoint(tmp_path: Path) -> Path:
    return save(*tiny_ngp(), tmp_path / "a.ckpt")


def reader() -> ProceduralReader:
    return ProceduralReader(image_size=16, n_train=4, n_val=1, n_test=1)


@pytest.mark.slow
def test_the_command_leaves_a_file_within_its_limit(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.nfc"
    words = ["encode", str(checkpoint), "--out", str(out), "--target_bytes", str(LIMIT), "--tune", "50s", *READER]
    main(words)
    assert out.stat().st_size <= LIMIT
    assert not (tmp_path / "a.nfc.tune").exists()
    read_nfc(out)


@pytest.mark.slow
def test_a_killed_run_goes_on_and_ends_like_an_undisturbed_one(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(Exception):
        pass

    class Kill(RunProgressBar):
        """Dies after a checkpoint, as a process does that is killed, without any farewell."""

        def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
            if trainer.global_step == 15:
                raise Killed

    steps: list[int] = []

    class Often(ResumePoint):
        def __init__(self, path: Path, every_seconds: float) -> None:
            super().__init__(path, 0.0)

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            super().on_train_start(trainer, pl_module)
            steps.append(trainer.global_step)

    monkeypatch.setattr(tuning_run, "ResumePoint", Often)
    whole = tuned_field(checkpoint, LIMIT, 50.0, reader(), tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(tuning_run, "RunProgressBar", Kill)
        with pytest.raises(Killed):
            tuned_field(checkpoint, LIMIT, 50.0, reader(), tmp_path / "run")
    again = tuned_field(checkpoint, LIMIT, 50.0, reader(), tmp_path / "run")
    assert steps[:2] == [0, 0] and steps[2] >= 14
    assert again.qp == whole.qp
    weights = zip(plain_parameters(whole.field).values(), plain_parameters(again.field).values())
    assert all(bool((one == other).all()) for one, other in weights)


@pytest.mark.slow
def test_a_run_of_other_options_is_not_gone_on_with(checkpoint: Path, tmp_path: Path) -> None:
    tuned_field(checkpoint, LIMIT, 50.0, reader(), tmp_path / "run")
    other = tuned_field(checkpoint, 3000, 50.0, reader(), tmp_path / "run")
    fresh = tuned_field(checkpoint, 3000, 50.0, reader(), tmp_path / "fresh")
    assert other.qp == fresh.qp
    shutil.rmtree(tmp_path / "run")


def found(size: int, psnr: float) -> _File:
    return _File(f"{size} {psnr}", size, psnr)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("untuned", "tuned", "limit", "floor", "best"),
    [
        (found(90, 30.0), found(95, 31.0), 100, None, "95 31.0"),
        (found(90, 30.0), found(95, 29.0), 100, None, "90 30.0"),
        (found(90, 30.0), found(101, 31.0), 100, None, "90 30.0"),
        (None, found(95, 29.0), 100, None, "95 29.0"),
        (found(90, 30.0), found(60, 29.9), None, 29.8, "60 29.9"),
        (found(90, 30.0), found(60, 29.7), None, 29.8, "90 30.0"),
    ],
)
def test_the_better_file_stays(untuned: Any, tuned: Any, limit: Any, floor: Any, best: str) -> None:
    chosen: Any = _better(untuned, tuned, limit, floor)
    assert chosen == best


def test_durations() -> None:
    assert seconds_of("10m") == 600.0
    for wrong in ("10", "m", "0s", "ten minutes"):
        with pytest.raises(NerfcompError, match="no duration"):
            seconds_of(wrong)


@pytest.mark.parametrize(("words", "message"), [(["--target_bytes=2500"], "--reader"), (READER, "Give --target_bytes")])
def test_what_is_missing_is_named(words: list[str], message: str, checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(NerfcompError, match=message):
        main(["encode", str(checkpoint), "--out", str(tmp_path / "a.nfc"), "--tune", "1m", *words])
