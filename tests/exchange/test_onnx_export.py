"""Students as ONNX graphs: the same pictures in onnxruntime, standard operators only, readable errors."""

import importlib
from pathlib import Path
from typing import Any

import pytest
import torch

from nerfcomp.artifacts.light_field import LightFieldArtifact
from nerfcomp.artifacts.scene_info import SceneInfo
from nerfcomp.errors import MissingExtraError
from nerfcomp.exchange.onnx_export import compare_with_torch, export_onnx, open_session, some_poses
from nerfcomp.geometry.cameras import make_camera
from tests.fields.test_light_field import shaken
from tests.tiny import TinyReader

onnx = pytest.importorskip("onnx", reason="needs the extra 'onnx'")


def student(ndc: bool = False) -> LightFieldArtifact:
    scene = SceneInfo.from_scene(TinyReader(size=20).read("train"))
    if ndc:
        poses = torch.eye(3, 4).repeat(3, 1, 1) + 0.05 * torch.randn(3, 3, 4) * torch.tensor([0.0, 0.0, 0.0, 1.0])
        camera = make_camera(poses, 20, 26, (20.0, 22.0), (12.0, 11.0), (0.02, 0.0, 0.001, 0.0))
        read = TinyReader(size=20).read("train")
        scene = SceneInfo.from_scene(read._replace(camera=camera, near=0.0, far=1.0, ndc=True))
    return LightFieldArtifact(field=shaken(octaves=6), scene=scene)


@pytest.mark.parametrize("ndc", [False, True], ids=["world", "ndc"])
def test_graph_draws_what_torch_draws(ndc: bool, tmp_path: Path) -> None:
    trained, path = student(ndc), tmp_path / "student.onnx"
    assert export_onnx(trained, path) == path.stat().st_size
    agreement = compare_with_torch(path, trained, views=3)
    assert agreement.largest < 1e-4 and agreement.psnr > 80
    (rgb,) = open_session(path, threads=1).run(["rgb"], {"c2w": some_poses(trained, 1)[0]})
    assert rgb.shape == (1, 3, trained.scene.height, trained.scene.width) and rgb.std() > 0.01


def test_graph_has_standard_operators_and_exact_gelu_only(tmp_path: Path) -> None:
    export_onnx(student(), tmp_path / "student.onnx")
    model = onnx.load(str(tmp_path / "student.onnx"))
    onnx.checker.check_model(model, full_check=True)
    assert [opset.domain for opset in model.opset_import] == [""]
    assert all(node.domain == "" for node in model.graph.node)
    kinds = [node.op_type for node in model.graph.node]
    assert "BatchNormalization" not in kinds and kinds.count("Gelu") == 1 + 5
    assert not any(node.attribute for node in model.graph.node if node.op_type == "Gelu")  # exact unless it says tanh
    assert [value.name for value in model.graph.input] == ["c2w"]


def test_eight_bits_draw_almost_the_same(tmp_path: Path) -> None:
    trained, path = student(), tmp_path / "student.onnx"
    export_onnx(trained, path, "int8")
    assert [file.name for file in tmp_path.iterdir()] == ["student.onnx"]
    assert 25 < compare_with_torch(path, trained).psnr < 80
    kinds = [node.op_type for node in onnx.load(str(path)).graph.node]
    assert "QuantizeLinear" in kinds


def test_sixteen_bits_store_half_as_much(tmp_path: Path) -> None:
    trained, path = student(), tmp_path / "student.onnx"
    full = export_onnx(trained, tmp_path / "full.onnx")
    weights = sum(4 * value.numel() for value in trained.field.parameters() if value.dim() > 2)
    assert export_onnx(trained, path, "bf16") < full - 0.4 * weights
    assert 35 < compare_with_torch(path, trained).psnr < 100


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def absent(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(MissingExtraError, match=r"pip install 'nerfcomp\[onnx\]'"):
        export_onnx(student(), tmp_path / "student.onnx")
