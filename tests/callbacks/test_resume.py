"""Killed runs resume: real processes, real SIGKILL."""

import time
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest
import torch

from tests.callbacks.tiny_cli import main, start


def kill_when(process: Popen[bytes], log: Path, reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 200
    while not reached():
        assert process.poll() is None, f"ended by itself: {log.read_text()[-2000:]}"
        assert time.monotonic() < deadline, log.read_text()[-2000:]
        time.sleep(0.005)
    process.kill()
    process.wait()


def load(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(path, weights_only=True)
    return content


def test_killed_in_training_and_in_the_video_the_run_still_ends_the_same(
    tmp_path: Path, config: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run, log = tmp_path / "runs" / "tiny" / "version_0", tmp_path / "log.txt"
    last, film = run / "checkpoints" / "last.ckpt", run / "videos" / "step0000040_rgb.mp4"
    kill_when(start(log, "--config", config), log, last.exists)
    stopped_at = load(last)["global_step"]
    assert stopped_at % 7 == 0 and stopped_at < 40

    resume = ["--config", str(run / "config.yaml"), "--ckpt_path", str(last)]
    kill_when(start(log, *resume), log, lambda: len(list(run.glob("videos/.step*/0*.npz"))) >= 3)
    assert not film.exists()
    assert load(last)["global_step"] == 35

    with caplog.at_level("INFO"):
        main(["fit", *resume])
    assert "of 8 frames of an interrupted run" in caplog.text and "Reusing 0" not in caplog.text
    assert film.exists() and film.with_name("step0000040_depth.mp4").exists()
    assert sorted(path.name for path in film.parent.iterdir()) == ["step0000040_depth.mp4", "step0000040_rgb.mp4"]
    assert [path.name for path in last.parent.iterdir()] == ["last.ckpt"]
    assert [path.name for path in run.parent.iterdir()] == ["version_0"]

    main(["fit", "--config", str(config), f"--model.record={tmp_path}/straight", "--model.pause=0"])
    straight = load(tmp_path / "straight" / "rank0.pt")
    resumed = load(last)
    assert resumed["global_step"] == 40
    assert torch.equal(resumed["state_dict"]["linear.weight"], straight["weight"])
    assert [path.name for path in sorted(run.parent.iterdir())] == ["version_0", "version_1"]
