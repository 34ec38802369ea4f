"""Students as ONNX graphs: the same pictures in onnxruntime, standard operators only, readable errors."""

import importlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from nerfcomp.artifacts.light_field import LightFieldArtifact
from nerfcomp.artifacts.scene_info import SceneInfo
from nerfcomp.errors import MissingExtraError
from nerfcomp.exchange import onnx_export
from nerfcomp.exchange.onnx_export import compare_with_torch, export_onnx, open_session, some_poses
from nerfcomp.exchange.onnx_graph import PoseToPicture, build_graph
from nerfcomp.geometry.cameras import make_camera, select_views
from tests.fields.test_light_field import shaken
from tests.tiny import TinyReader

onnx = pytest.importorskip("onnx", reason="needs the extra 'onnx'")
pytest.importorskip("onnxscript", reason="needs the extra 'onnx'")


def student(ndc: bool = False) -> LightFieldArtifact:
    scene = SceneInfo.from_scene(TinyReader(size=20).read("train"))
    if ndc:
        poses = torch.eye(3, 4).repeat(3, 1, 1) + 0.05 * torch.randn(3, 3, 4) * torch.tensor([0.0, 0.0, 0.0, 1.0])
        camera = make_camera(poses, 20, 26, (20.0, 22.0), (12.0, 11.0), (0.02, 0.0, 0.001, 0.0))
        read = TinyReader(size=20).read("train")
        scene = SceneInfo.from_scene(read._replace(camera=camera, near=0.0, far=1.0, ndc=True))
    return LightFieldArtifact(field=shaken(octaves=6), scene=scene)


class Exported:
    """A student of a forward-facing scene and its graph, exported once, as that takes seconds."""

    def __init__(self) -> None:
        self.trained = student(ndc=True)
        with warnings.catch_warnings(record=True) as self.warnings:
            warnings.simplefilter("always")
            self.model = build_graph(self.trained.for_drawing())


@pytest.fixture(scope="module")
def kept() -> Exported:
    return Exported()


@pytest.fixture
def exported(kept: Exported, monkeypatch: pytest.MonkeyPatch) -> Iterator[Exported]:
    copy = onnx.ModelProto()
    copy.CopyFrom(kept.model)
    monkeypatch.setattr(onnx_export, "build_graph", lambda trained: copy)
    yield kept


@pytest.mark.parametrize("ndc", [False, True], ids=["world", "ndc"])
def test_the_module_behind_the_graph_draws_what_the_field_draws(ndc: bool) -> None:
    trained = student(ndc).for_drawing()
    home, pose = select_views(trained.scene.camera, [0]), some_poses(trained, 2)[1]
    view = home._replace(c2w=torch.from_numpy(pose))
    with torch.no_grad():
        picture = PoseToPicture(trained)(view.c2w)
        torch.testing.assert_close(picture, trained.field.draw(view, trained.scene.bounds).permute(0, 3, 1, 2))
    assert picture.std() > 0.01


def test_graph_draws_what_torch_draws(exported: Exported, tmp_path: Path) -> None:
    trained, path = exported.trained, tmp_path / "student.onnx"
    assert export_onnx(trained, path) == path.stat().st_size
    agreement = compare_with_torch(path, trained, views=3)
    assert agreement.largest < 1e-4 and agreement.psnr > 80
    (rgb,) = open_session(path, threads=1).run(["rgb"], {"c2w": some_poses(trained, 1)[0]})
    assert rgb.shape == (1, 3, trained.scene.height, trained.scene.width) and rgb.std() > 0.01


def test_graph_has_standard_operators_and_exact_gelu_only(exported: Exported) -> None:
    model = exported.model
    onnx.checker.check_model(model, full_check=True)
    assert [opset.domain for opset in model.opset_import] == [""] and not model.functions
    assert all(node.domain == "" for node in model.graph.node)
    kinds = [node.op_type for node in model.graph.node]
    assert "BatchNormalization" not in kinds and kinds.count("Gelu") == 1 + 5
    gelus = [node for node in model.graph.node if node.op_type == "Gelu"]
    assert all(attribute.s == b"none" for node in gelus for attribute in node.attribute)  # exact unless it says tanh
    assert [value.name for value in model.graph.input] == ["c2w"]


def test_the_exporter_leaves_no_trace_of_this_machine_and_no_advice_to_developers(exported: Exported) -> None:
    text = exported.model.SerializeToString()
    assert b".py" not in text and b"nerfcomp." not in text and b"aten" not in text
    assert [str(warning.message) for warning in exported.warnings if warning.category is FutureWarning] == []
    assert logging.getLogger("torch.onnx._internal.exporter._registration").level != logging.ERROR


def test_eight_bits_draw_almost_the_same(exported: Exported, tmp_path: Path) -> None:
    path = tmp_path / "student.onnx"
    export_onnx(exported.trained, path, "int8")
    assert [file.name for file in tmp_path.iterdir()] == ["student.onnx"]
    assert 25 < compare_with_torch(path, exported.trained).psnr < 80
    nodes = onnx.load(str(path)).graph.node
    kinds = [node.op_type for node in nodes]
    assert "QuantizeLinear" in kinds
    last = [node for node in nodes if node.op_type == "Conv"][-1]
    assert not last.input[1].endswith("DequantizeLinear_Output")  # its errors would be the picture's


def test_sixteen_bits_store_half_as_much(exported: Exported, tmp_path: Path) -> None:
    trained, path = exported.trained, tmp_path / "student.onnx"
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
