"""Two real processes (gloo) against one process with the same global batch."""

from pathlib import Path
from typing import Any

import imageio.v3 as iio
import pytest
import torch

from tests.callbacks.tiny_cli import main, start, stop
from tests.tiny import VIEWS

pytestmark = pytest.mark.slow


def load(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(path, weights_only=True)
    return content


def test_two_processes_do_what_one_does(tmp_path: Path, config: Path) -> None:
    options = ["--config", str(config), "--model.pause=0", "--trainer.max_steps=12"]
    two = ["--trainer.devices=2", "--trainer.strategy=ddp", "--data.batch_size=8", "--trainer.val_check_interval=6"]
    log = tmp_path / "log.txt"
    process = start(log, *options, *two, "--trainer.check_val_every_n_epoch=null")
    try:
        assert process.wait(200) == 0, log.read_text()[-3000:]
    finally:
        stop(process)
    first, second = (load(tmp_path / "record" / f"rank{rank}.pt") for rank in (0, 1))

    one = ["--trainer.devices=1", "--trainer.callbacks=[]", "--trainer.enable_checkpointing=false"]
    main(["fit", *options, *one, "--trainer.limit_val_batches=0", f"--model.record={tmp_path}/one"])
    alone = load(tmp_path / "one" / "rank0.pt")

    for (_, mine), (_, theirs), (_, all_) in zip(first["seen"], second["seen"], alone["seen"], strict=True):
        assert torch.equal(mine, all_[0::2])
        assert torch.equal(theirs, all_[1::2])
    assert torch.equal(first["weight"], second["weight"])
    torch.testing.assert_close(first["weight"], alone["weight"])

    names = [[name for name, _ in rank["scores"]] for rank in (first, second)]
    assert names[0] == ["val_0.png", "val_2.png", "val_4.png"] * 2  # validated twice
    assert names[1] == ["val_1.png", "val_3.png"] * 2
    assert len(names[0] + names[1]) == 2 * VIEWS["val"]

    runs = tmp_path / "runs" / "tiny"
    assert len(list(runs.glob("*/config*.yaml"))) == 2  # one for the two processes, one for the single process
    film = runs / "version_0" / "videos" / "step0000012_rgb.mp4"
    assert iio.imread(film, plugin="pyav").shape == (8, 8, 8, 3)
    assert len(list(film.parent.iterdir())) == 2
