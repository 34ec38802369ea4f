"""Both commands through their front doors, on a scene of 16x16 pixels."""

import csv
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import compress
import train
from nerfcomp.artifacts.nfc import read_nfc
from nerfcomp.artifacts.reading import read_scene_artifact
from nerfcomp.codec import decode_nnc
from nerfcomp.commands.encode import encode
from nerfcomp.commands.info import info
from nerfcomp.commands.measure import evaluate
from nerfcomp.errors import CheckpointError, ContainerError, NerfcompError, SceneError
from nerfcomp.readers import ProceduralReader
from tests.workspace import Workspace

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("cli"))


@pytest.fixture
def run(workspace: Workspace, caplog: pytest.LogCaptureFixture) -> Callable[..., str]:
    def call(*args: object) -> str:
        caplog.clear()
        with caplog.at_level(logging.INFO):
            compress.main([str(arg) for arg in args])
        return caplog.text

    return call


def test_fit_leaves_a_checkpoint_that_describes_itself(workspace: Workspace) -> None:
    trained = read_scene_artifact(workspace.ckpt)
    assert trained.scene.height == 16 and trained.scene.background == (1.0, 1.0, 1.0)
    content = torch.load(workspace.ckpt, weights_only=True)
    assert content["global_step"] == 6
    assert (workspace.run / "config.yaml").exists() and list(workspace.run.glob("events.*"))


def test_export_at_the_end_is_the_field_that_was_trained(workspace: Workspace) -> None:
    path = workspace.run / "bitstreams" / "step0000006.nfc"
    figures = json.loads(path.with_suffix(".json").read_text())
    assert figures["bytes"] == path.stat().st_size
    assert figures["psnr_drop"] == pytest.approx(figures["psnr_fp32"] - figures["psnr"])
    trained, decoded = read_scene_artifact(workspace.ckpt), read_nfc(path)
    assert torch.equal(decoded.exact_tensors()["occupancy"], trained.exact_tensors()["occupancy"])


def test_resume_ends_at_the_same_step_in_the_same_folder(workspace: Workspace) -> None:
    args = ["fit", "--config", str(workspace.config), "--ckpt_path", str(workspace.ckpt), "--trainer.max_steps", "8"]
    cli = train.main([*args, "--trainer.callbacks", "[]"])
    assert cli.trainer.global_step == 8 and Path(cli.trainer.log_dir or "") == workspace.run


def test_test_writes_results(workspace: Workspace) -> None:
    cli = train.main(["test", "--config", str(workspace.config), "--ckpt_path", str(workspace.ckpt)])
    results = json.loads((Path(cli.trainer.log_dir or "") / "results.json").read_text())
    with open(Path(cli.trainer.log_dir or "") / "per_image.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert results["views"] == len(rows) == 2
    assert results["psnr"] == pytest.approx(np.mean([float(row["psnr"]) for row in rows]))


def test_init_from_starts_with_the_weights(workspace: Workspace) -> None:
    args = ["fit", "--config", str(workspace.config), "--model.init_args.init_from", str(workspace.ckpt)]
    cli = train.main(
        [
            *args,
            "--trainer.max_steps",
            "1",
            "--trainer.callbacks",
            "[]",
            "--trainer.logger",
            "false",
            "--trainer.enable_checkpointing",
            "false",
        ]
    )
    start, now = read_scene_artifact(workspace.ckpt).field, cli.model.field
    for a, b in zip(start.parameters(), now.parameters()):
        assert (a - b).abs().max() <= 0.011  # one step of at most the learning rate


def test_encode_decode_evaluate(workspace: Workspace, run: Callable[..., str], tmp_path: Path) -> None:
    file, back = tmp_path / "scene.nfc", tmp_path / "back.ckpt"
    assert f"{file}" in run("encode", workspace.ckpt, "--out", file, "--qp", "-30")
    assert "occupancy" in run("info", file)
    run("decode", file, "--out", back)
    text = run("evaluate", file, *workspace.reader)
    results = json.loads((tmp_path / "scene_test" / "results.json").read_text())
    assert results["bytes"] == file.stat().st_size and "mean" in text
    run("evaluate", back, *workspace.reader, "--out", tmp_path / "again")
    assert json.loads((tmp_path / "again" / "results.json").read_text())["psnr"] == results["psnr"]
    cli = train.main(["test", "--config", str(workspace.config), "--ckpt_path", str(back)])
    again = json.loads((Path(cli.trainer.log_dir or "") / "results.json").read_text())
    assert again["psnr"] == pytest.approx(results["psnr"], abs=1e-4)


def test_encoding_is_reproducible(workspace: Workspace, run: Callable[..., str], tmp_path: Path) -> None:
    for name in ("a.nfc", "b.nfc"):
        run("encode", workspace.ckpt, "--out", tmp_path / name)
    assert (tmp_path / "a.nfc").read_bytes() == (tmp_path / "b.nfc").read_bytes()


def test_unwrapped_streams_are_plain_nnc(workspace: Workspace, run: Callable[..., str], tmp_path: Path) -> None:
    file = tmp_path / "scene.nfc"
    run("encode", workspace.ckpt, "--out", file, "--uniform", "true")
    run("unwrap", file, "--out", tmp_path / "streams")
    values = {}
    for stream in (tmp_path / "streams").glob("*.nnc"):
        values.update(decode_nnc(stream.read_bytes()))
    decoded = dict(read_nfc(file).field.named_parameters())
    assert values.keys() == decoded.keys()
    for name, value in values.items():
        assert np.array_equal(value.reshape(decoded[name].shape), decoded[name].detach().numpy())


def test_target_bytes_is_met(workspace: Workspace, run: Callable[..., str], tmp_path: Path) -> None:
    fine, file = tmp_path / "fine.nfc", tmp_path / "small.nfc"
    run("encode", workspace.ckpt, "--out", fine, "--qp", "-40", "--uniform", "true")
    limit = fine.stat().st_size * 3 // 4
    run("encode", workspace.ckpt, "--out", file, "--target_bytes", limit, "--uniform", "true")
    assert limit * 0.7 < file.stat().st_size <= limit


def test_max_psnr_drop_is_met_on_training_views(workspace: Workspace, run: Callable[..., str], tmp_path: Path) -> None:
    file = tmp_path / "close.nfc"
    run("encode", workspace.ckpt, "--out", file, "--max_psnr_drop", "0.2", *workspace.reader)
    figures = []
    for source, name in ((workspace.ckpt, "fp32"), (file, "coded")):
        run("evaluate", source, *workspace.reader, "--split", "train", "--out", tmp_path / name)
        figures.append(json.loads((tmp_path / name / "results.json").read_text())["psnr"])
    assert figures[0] - figures[1] <= 0.2 + 1e-3


def test_sweep_draws_and_continues(workspace: Workspace, run: Callable[..., str], tmp_path: Path) -> None:
    args = ["sweep", workspace.ckpt, *workspace.reader, "--out", tmp_path]
    run(*args, "--qps", "[-32]")
    first = (tmp_path / "qp-32.nfc").stat().st_mtime_ns
    run(*args, "--qps", "[-32, -12]")
    with open(tmp_path / "sweep.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["qp"] for row in rows] == ["fp32", "-32", "-12"]
    assert int(rows[1]["bytes"]) > int(rows[2]["bytes"]) == (tmp_path / "qp-12.nfc").stat().st_size
    assert (tmp_path / "qp-32.nfc").stat().st_mtime_ns == first
    assert (tmp_path / "sweep.png").read_bytes()[:4] == b"\x89PNG"
    for other in (["--split", "train"], ["--uniform", "true"]):
        with pytest.raises(NerfcompError, match="rows of another measurement; what differs: (views|uniform)\\."):
            run(*args, *other)


def test_nothing_is_overwritten_silently(workspace: Workspace, tmp_path: Path) -> None:
    file = tmp_path / "taken.nfc"
    file.write_text("mine")
    with pytest.raises(NerfcompError, match="exists already"):
        encode(workspace.ckpt, file)
    assert file.read_text() == "mine"


def test_wrong_files_end_in_a_sentence(workspace: Workspace, tmp_path: Path) -> None:
    junk = tmp_path / "junk.ckpt"
    junk.write_bytes(b"not a checkpoint")
    foreign = tmp_path / "foreign.ckpt"
    torch.save({"state_dict": {"a": torch.zeros(1)}}, foreign)
    with pytest.raises(CheckpointError, match="There is no checkpoint at"):
        encode(tmp_path / "missing.ckpt", tmp_path / "a.nfc")
    with pytest.raises(CheckpointError, match="not a readable checkpoint"):
        encode(junk, tmp_path / "a.nfc")
    with pytest.raises(CheckpointError, match="does not describe a trained field"):
        encode(foreign, tmp_path / "a.nfc")
    with pytest.raises(ContainerError):
        info(workspace.ckpt)
    with pytest.raises(NerfcompError, match="split is 'tset'"):
        evaluate(workspace.ckpt, ProceduralReader(), split="tset")
    assert not (tmp_path / "a.nfc").exists()


def test_a_typo_in_an_option_stops_the_program(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        train.main(["fit", "--config", str(workspace.config), "--trainer.max_stepz", "1"])
    assert "max_stepz" in capsys.readouterr().err


def test_the_default_is_used_only_when_nothing_is_named() -> None:
    assert train.with_default_config(["fit"]) == ["fit", "--config", str(train.DEFAULT_CONFIG)]
    assert train.with_default_config(["fit", "--config", "x.yaml"]) == ["fit", "--config", "x.yaml"]
    assert train.with_default_config(["fit", "--config=x.yaml"]) == ["fit", "--config=x.yaml"]
    assert train.with_default_config(["--help"]) == ["--help"]


def test_without_validation_views_training_goes_on_and_shows_no_test_view(workspace: Workspace, tmp_path: Path) -> None:
    scene, runs = tmp_path / "scene", tmp_path / "runs"
    shutil.copytree(workspace.scene, scene)
    (scene / "transforms_val.json").unlink()
    best = {"class_path": "ModelCheckpoint", "init_args": {"monitor": "val/psnr", "mode": "max", "filename": "best"}}
    options = ["--data.reader.root", str(scene), "--data.reader.val_hold", "0"]
    options += ["--trainer.logger.init_args.save_dir", str(runs), "--trainer.callbacks+", json.dumps(best)]
    cli = train.main(["fit", "--config", str(workspace.config), *options])
    assert cli.trainer.global_step == 6
    assert not [name for name in cli.trainer.callback_metrics if name.startswith("val/")]
    figures = json.loads((runs / "small" / "version_0" / "bitstreams" / "step0000006.json").read_text())
    assert set(figures) == {"bytes", "ratio"}
    with pytest.raises(SceneError, match="val_hold"):
        train.main(["validate", "--config", str(workspace.config), *options[:4], "--ckpt_path", str(workspace.ckpt)])


def test_held_back_views_validate(workspace: Workspace, tmp_path: Path) -> None:
    scene = tmp_path / "scene"
    shutil.copytree(workspace.scene, scene)
    (scene / "transforms_val.json").unlink()
    options = ["--data.reader.root", str(scene), "--data.reader.val_hold", "3"]
    data = train.main(["--config", str(workspace.config), *options], run=False).datamodule
    data.setup("fit")
    batches = [batch.name for batch in data.val_dataloader()]
    held, tested = data.split("val").images, data.reader.read("test").images
    assert len(batches) == len(held) == 2 and len(data.split("train").images) == 2
    assert not any(torch.equal(one, other) for one in held for other in tested)
