"""Students through ``compress.py``: encoded, evaluated, slimmed, exported."""

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import compress
from nerfcomp.artifacts.checkpoint import write_checkpoint
from nerfcomp.artifacts.light_field import LightFieldArtifact
from nerfcomp.artifacts.nfc import read_nfc
from nerfcomp.artifacts.reading import read_scene_artifact
from nerfcomp.artifacts.scene_info import SceneInfo
from nerfcomp.codec.quantizers import step_size
from nerfcomp.errors import NerfcompError
from nerfcomp.fields import LightField
from nerfcomp.readers import ProceduralReader
from tests.fields.test_light_field import shaken
from tests.teacher import write_teacher

SIZES = {"image_size": 24, "n_train": 3, "n_val": 1, "n_test": 2, "supersampling": 1}
READER = ["--reader=ProceduralReader", *(f"--reader.{name}={value}" for name, value in SIZES.items())]


@pytest.fixture(scope="module")
def ckpt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("student") / "student.ckpt"
    scene = SceneInfo.from_scene(ProceduralReader(**SIZES).read("train"))  # type: ignore[arg-type]
    field = shaken(width=32)
    field.set_aabb(torch.tensor(scene.aabb))
    write_checkpoint(LightFieldArtifact(field=field, scene=scene), path)
    return path


@pytest.fixture
def run(caplog: pytest.LogCaptureFixture) -> Callable[..., str]:
    def call(*args: object) -> str:
        caplog.clear()
        with caplog.at_level(logging.INFO):
            compress.main([str(arg) for arg in args])
        return caplog.text

    return call


def psnr(folder: Path) -> float:
    return float(json.loads((folder / "results.json").read_text())["psnr"])


@pytest.mark.slow
def test_file_decodes_to_the_same_network(ckpt: Path, run: Callable[..., str], tmp_path: Path) -> None:
    file = tmp_path / "student.nfc"
    run("encode", ckpt, "--out", file, "--qp", "-36", "--uniform", "true")
    whole, decoded = read_scene_artifact(ckpt).for_coding().field, read_nfc(file).field
    assert isinstance(decoded, LightField) and decoded.arguments == whole.arguments
    for (name, value), other in zip(whole.named_parameters(), decoded.parameters(), strict=True):
        assert (value - other).abs().max() <= 2 * step_size(-36), name  # the steps of dependent quantization
    run("evaluate", ckpt, *READER, "--out", tmp_path / "a")
    run("evaluate", file, *READER, "--out", tmp_path / "b")
    assert psnr(tmp_path / "b") == pytest.approx(psnr(tmp_path / "a"), abs=0.1)
    run("decode", file, "--out", tmp_path / "back.ckpt")
    run("evaluate", tmp_path / "back.ckpt", *READER, "--out", tmp_path / "c")
    assert psnr(tmp_path / "c") == psnr(tmp_path / "b")


@pytest.mark.slow
def test_coarser_files_are_smaller(ckpt: Path, run: Callable[..., str], tmp_path: Path) -> None:
    run("sweep", ckpt, *READER, "--out", tmp_path, "--qps", "[-32, -12]")
    assert 0 < (tmp_path / "qp-12.nfc").stat().st_size < (tmp_path / "qp-32.nfc").stat().st_size


def test_slim_writes_a_smaller_student(ckpt: Path, run: Callable[..., str], tmp_path: Path) -> None:
    text = run("slim", ckpt, "--out", tmp_path / "slim.ckpt", "--keep", "0.4", "--multiple", "2")
    small, whole = read_scene_artifact(tmp_path / "slim.ckpt"), read_scene_artifact(ckpt)
    assert sum(p.numel() for p in small.field.parameters()) < 0.7 * sum(p.numel() for p in whole.field.parameters())
    assert "ms per frame" in text and "inner widths" in text and small.scene == whole.scene
    with pytest.raises(NerfcompError, match="exists already"):
        run("slim", ckpt, "--out", tmp_path / "slim.ckpt")


@pytest.mark.slow
def test_export_writes_a_graph_of_any_size(ckpt: Path, run: Callable[..., str], tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="needs the extra 'onnx'")
    text = run("export", "onnx", ckpt, "--out", tmp_path / "student.onnx", "--scale", "1.5")
    assert "largest difference to torch" in text and " 36 " in text
    with pytest.raises(NerfcompError, match="above 0"):
        run("export", "onnx", ckpt, "--out", tmp_path / "none.onnx", "--scale", "0")
    with pytest.raises(NerfcompError, match="radiance field"):
        run("export", "onnx", write_teacher(tmp_path), "--out", tmp_path / "none.onnx")
    assert not (tmp_path / "none.onnx").exists()
