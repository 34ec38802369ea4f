"""Killed runs resume: real processes, real SIGKILL."""

import time
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pytest
import torch

from tests import ranks
from tests.callbacks.tiny_cli import main

pytestmark = pytest.mark.slow


def kill_when(process: ForkServerProcess, log: Path, reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 200
    try:
        while not reached():
            assert process.exitcode is None, f"ended by itself: {log.read_text()[-2000:]}"
            assert time.monotonic() < deadline, log.read_text()[-2000:]
            time.sleep(0.005)
    finally:
        ranks.stop(process)


def load(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(path, weights_only=True)
    return content


def test_killed_in_a_video_the_run_resumes_and_ends_the_same(
    tmp_path: Path, config: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run, log = tmp_path / "runs" / "tiny" / "version_0", tmp_path / "log.txt"
    last, videos = run / "checkpoints" / "last.ckpt", run / "videos"

    process = ranks.start(["fit", "--config", config], tmp_path, log, program="tests.callbacks.tiny_cli")
    kill_when(process, log, lambda: len(list(videos.glob(".step0000020-*/0*.npz"))) >= 3)
    assert load(last)["global_step"] == 14
    assert not list(videos.glob("*.mp4"))

    with caplog.at_level("INFO"):
        main(["fit", "--config", str(run / "config.yaml"), "--ckpt_path", str(last)])
    assert "of 8 frames of an interrupted run" in caplog.text and "Reusing 0" not in caplog.text
    films = [f"step00000{step}_{kind}.mp4" for step in (20, 40) for kind in ("depth", "rgb")]
    assert sorted(path.name for path in videos.iterdir()) == films
    assert sorted(path.name for path in last.parent.iterdir()) == ["finished", "last.ckpt"]
    assert [path.name for path in run.parent.iterdir()] == ["version_0"]

    main(["fit", "--config", str(config), f"--model.record={tmp_path}/straight", "--model.pause=0"])
    straight, resumed = load(tmp_path / "straight" / "rank0.pt"), load(last)
    assert resumed["global_step"] == 40
    assert torch.equal(resumed["state_dict"]["linear.weight"], straight["weight"])
    assert sorted(path.name for path in run.parent.iterdir()) == ["version_0", "version_1"]
