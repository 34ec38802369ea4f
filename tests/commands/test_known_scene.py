"""What a run says at its end, and what commands know of its scene from its folder."""

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import compress
import train
from nerfcomp.errors import NerfcompError
from tests.workspace import Workspace

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("cli"))


@pytest.fixture
def run(caplog: pytest.LogCaptureFixture) -> Callable[..., str]:
    def call(*args: object) -> str:
        caplog.clear()
        with caplog.at_level(logging.INFO):
            compress.main([str(arg) for arg in args])
        return caplog.text

    return call


def test_fit_ends_with_a_validation_its_files_and_the_next_command(
    workspace: Workspace, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rare = ["--trainer.check_val_every_n_epoch", "7", "--trainer.logger.init_args.save_dir", str(tmp_path / "runs")]
    with caplog.at_level(logging.INFO):
        cli = train.main(["fit", "--config", str(workspace.config), *rare])
    run = tmp_path / "runs" / "small" / "version_0"
    assert cli.model.validated_step == 6 and "Validation: val/psnr" in caplog.text
    assert f"Last checkpoint: {run / 'checkpoints' / 'last.ckpt'}" in caplog.text
    assert f"File: {run / 'bitstreams' / 'step0000006.nfc'}" in caplog.text
    assert f"python train.py test --config {run / 'config.yaml'} --ckpt_path {run}" in caplog.text
    assert f"python compress.py view {run / 'bitstreams' / 'step0000006.nfc'}" in caplog.text


def test_a_run_knows_its_scene(workspace: Workspace, run: Callable[..., str], tmp_path: Path) -> None:
    given = run("evaluate", workspace.ckpt, *workspace.reader, "--out", tmp_path / "given")
    known = run("evaluate", workspace.run, "--out", tmp_path / "known")
    assert f"BlenderReader {workspace.scene}" in known and f"BlenderReader {workspace.scene}" not in given
    found = [json.loads((tmp_path / name / "results.json").read_text()) for name in ("given", "known")]
    assert found[0]["psnr"] == found[1]["psnr"]
    published = json.loads((tmp_path / "known" / "nerfbaselines.json").read_text())
    assert published["nb_info"]["dataset"] == "scene" and published["metrics"]["psnr"] == round(found[1]["psnr"], 5)
    assert (tmp_path / "known" / "3dgs_zip.csv").is_file()
    exported = workspace.run / "bitstreams" / "step0000006.nfc"
    assert f"BlenderReader {workspace.scene}" in run("evaluate", exported, "--out", tmp_path / "nfc")
    run("sweep", workspace.run, "--out", tmp_path / "sweep", "--qps", "[-20]")
    assert (tmp_path / "sweep" / "sweep.csv").is_file()
    text = run("encode", workspace.run, "--out", tmp_path / "a.nfc", "--max_psnr_drop", "3")
    assert "QP " in text and "PSNR drop" in text
    rows = [line.split() for line in text.partition("section")[2].partition("QP")[0].splitlines()]
    sizes = [int(words[-1].replace(",", "")) for words in rows if words and words[-1].replace(",", "").isdigit()]
    assert sum(sizes) == (tmp_path / "a.nfc").stat().st_size
    shutil.copy(exported, tmp_path / "alone.nfc")
    with pytest.raises(NerfcompError, match="does not say which scene it shows"):
        run("evaluate", tmp_path / "alone.nfc")


def test_another_scene_is_noticed_and_keeps_apart_from_results(
    workspace: Workspace, run: Callable[..., str], tmp_path: Path
) -> None:
    white, args = tmp_path / "white", ["test", "--config", str(workspace.config), "--ckpt_path", str(workspace.run)]
    shutil.copytree(workspace.scene, white)
    for index, path in enumerate(sorted(white.rglob("*.png"))):
        Image.fromarray(np.full((16, 16, 4), (40 * index % 256, 9, 200, 255), np.uint8)).save(path)
    assert "Is this the scene of the training?" in run(
        "evaluate", workspace.ckpt, "--reader", "BlenderReader", f"--reader.root={white}", "--out", tmp_path / "w"
    )
    train.main(args)
    first = sorted(path.name for path in workspace.run.glob("results*.json"))
    before = [(workspace.run / name).read_text() for name in first]
    train.main([*args, f"--data.reader.root={white}"])
    assert len(list(workspace.run.glob("results*.json"))) == len(first) + 1
    assert [(workspace.run / name).read_text() for name in first] == before
