"""Commands and files that others have made or chosen the names of: nothing escapes, nothing is overwritten."""

import logging
import os
from pathlib import Path

import numpy as np
import pytest
import yaml
from lightning import Trainer

from nerfcomp.callbacks import BitstreamExport, RunLogger
from nerfcomp.codec import Container, Storage, encode, write_container
from nerfcomp.commands.encode import decode, unwrap
from nerfcomp.commands.info import info
from nerfcomp.commands.measure import evaluate
from nerfcomp.errors import ContainerError, NerfcompError, SceneError
from nerfcomp.modules import RadianceFieldModule
from nerfcomp.readers import TransformsReader, images
from tests.callbacks.conftest import config  # noqa: F401  a fixture
from tests.callbacks.tiny_cli import main
from tests.modules.tiny_fields import data, quiet_fit, tiny_ngp
from tests.readers.builders import write_transforms


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Two sections whose names would meet in one file name."""
    values = {name: np.full(3, number, np.float32) for number, name in enumerate(("a/b", "a_b"))}
    sections = encode(values, {name: Storage(name, qp=-20) for name in values})
    header = {"kind": "tensors", "writer": "\x1b[2J\x07"}
    write_container(tmp_path / "file.nfc", Container(header, sections))
    return tmp_path / "file.nfc"


def test_escapes_stay_text(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        info(file)
    assert "\x1b" not in caplog.text and r"writer: \x1b[2J\x07" in caplog.text


def test_streams_neither_meet_nor_replace_anything(file: Path, tmp_path: Path) -> None:
    unwrap(file, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a%2Fb.nnc", "a_b.nnc"]
    with pytest.raises(NerfcompError, match="exists already"):
        unwrap(file, tmp_path / "out")
    unwrap(file, tmp_path / "out", force=True)


def test_what_is_read_is_never_replaced(file: Path, tmp_path: Path) -> None:
    (tmp_path / "link.nfc").hardlink_to(file)
    for out in (file, tmp_path / "link.nfc"):
        with pytest.raises(NerfcompError, match="what is read"):
            decode(file, out, force=True)


def test_results_are_not_replaced(file: Path, tmp_path: Path) -> None:
    (tmp_path / "found").mkdir()
    (tmp_path / "found" / "results.json").write_text("{}")
    with pytest.raises(NerfcompError, match="exists already"):
        evaluate(file, volume=tmp_path / "v.npy", out=tmp_path / "found")


def test_pipes_and_devices_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.nfc")
    for path in (tmp_path / "pipe.nfc", Path("/dev/zero"), tmp_path):
        with pytest.raises(ContainerError, match="no regular file"):
            info(path)


@pytest.mark.parametrize("options", [{"name": "../x"}, {"name": "/tmp/x"}, {"version": "../../x"}])
def test_runs_stay_in_their_folder(options: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="would not lie in"):
        RunLogger(save_dir=str(tmp_path), **options)


def test_hyper_parameters_are_plain(tmp_path: Path) -> None:
    run = RunLogger("a", str(tmp_path))
    run.log_hyperparams({"lr": 0.1, "path": tmp_path, "made": lambda: None})
    run.save()
    assert yaml.safe_load((Path(run.log_dir) / "hparams.yaml").read_text())["path"] == str(tmp_path)


def test_the_impossible_number_is_named(tmp_path: Path) -> None:
    root = write_transforms(tmp_path, fl_x=1e-9, camera_angle_x=0.8)
    with pytest.raises(SceneError, match="'fl_x' 1e-09"):
        TransformsReader(root).read("train")


def test_many_names_of_one_image_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_transforms(tmp_path)
    monkeypatch.setattr(images, "_MOST_VIEWED", 100)
    with pytest.raises(SceneError, match="at most 100 are loaded"):
        TransformsReader(root).read("train")


@pytest.mark.slow
def test_a_full_disk_costs_the_export_and_not_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("nerfcomp.callbacks.bitstream.write_nfc", full)
    trainer: Trainer = quiet_fit(RadianceFieldModule(*tiny_ngp()), data(), tmp_path, 2, callbacks=[BitstreamExport()])
    assert trainer.global_step == 2 and "Training goes on" in caplog.text


@pytest.mark.slow
def test_options_that_a_resumed_run_ignores_are_named(
    tmp_path: Path, config: Path, caplog: pytest.LogCaptureFixture  # noqa: F811
) -> None:
    few = ["fit", "--config", str(config), "--model.pause=0", "--trainer.callbacks=[{class_path: RunCheckpoint}]"]
    main([*few, "--trainer.max_steps=1"])
    last = tmp_path / "runs" / "tiny" / "version_0" / "checkpoints" / "last.ckpt"
    main([*few, "--trainer.max_steps=1", "--ckpt_path", str(last), "--model.lr=0.5"])
    assert "--model.lr=0.5 may have no effect" in caplog.text
