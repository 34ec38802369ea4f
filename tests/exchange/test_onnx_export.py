"""Students as ONNX graphs: the same pictures in onnxruntime, standard operators only, readable errors."""

import importlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from nerfcomp.artifacts.integers import calibrated, to_integers
from nerfcomp.artifacts.light_field import LightFieldArtifact
from nerfcomp.artifacts.scene_info import SceneInfo
from nerfcomp.compression import FakeQuantization, quantizers
from nerfcomp.errors import MissingExtraError
from nerfcomp.exchange import onnx_export
from nerfcomp.exchange.onnx_export import compare_with_torch, export_onnx, open_session, some_poses
from nerfcomp.exchange.onnx_graph import PoseToPicture, build_graph
from nerfcomp.exchange.onnx_integers import Product, integer_values
from nerfcomp.fields import IntegerLayer
from nerfcomp.fields.channels_last import Pointwise
from nerfcomp.geometry.cameras import make_camera, select_views
from nerfcomp.kernels.int8_linear import Grid
from tests.fields.test_light_field import shaken
from tests.fields.test_light_field_grid import with_grid
from tests.tiny import TinyReader

onnx = pytest.importorskip("onnx", reason="needs the extra 'onnx'")
pytest.importorskip("onnxscript", reason="needs the extra 'onnx'")
pytestmark = pytest.mark.slow


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


@pytest.mark.parametrize("ndc", [False, True], ids=["world", "ndc"])
def test_a_student_with_a_grid_is_a_graph_as_well(ndc: bool, tmp_path: Path) -> None:
    before = student(ndc)
    field = with_grid(octaves=0)
    field.set_aabb(torch.tensor(before.scene.aabb))
    trained, path = before.replace(field=field), tmp_path / "student.onnx"
    export_onnx(trained, path)
    assert compare_with_torch(path, trained).largest < 1e-5
    assert all(not node.domain for node in onnx.load(str(path)).graph.node)


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


class InIntegers(NamedTuple):
    """A student trained for 8 bits, and its file."""

    trained: LightFieldArtifact
    calibrated: LightFieldArtifact
    path: Path


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> InIntegers:
    torch.manual_seed(0)
    trained = calibrated(student(), [FakeQuantization()], 2)
    only_calibrated = to_integers(trained)
    for quantizer in quantizers(trained.field).values():
        quantizer.grids[0].high.mul_(0.9)  # which no calibration would find
    path = tmp_path_factory.mktemp("int8") / "student.onnx"
    export_onnx(trained, path, "int8")
    return InIntegers(trained, only_calibrated, path)


def test_eight_bits_draw_what_our_integers_draw(quantized: InIntegers) -> None:
    """Only where a value falls between two levels may rounding differ; signed bytes of weights would saturate."""
    ours = compare_with_torch(quantized.path, to_integers(quantized.trained), views=3)
    assert ours.psnr > 55 and ours.largest < 0.03
    assert ours.psnr > 10 + compare_with_torch(quantized.path, quantized.calibrated, views=3).psnr


def test_all_products_are_of_integers(quantized: InIntegers, tmp_path: Path) -> None:
    onnx.checker.check_model(onnx.load(str(quantized.path)), full_check=True)
    runtime = pytest.importorskip("onnxruntime")
    options = runtime.SessionOptions()
    options.optimized_model_filepath, options.log_severity_level = str(tmp_path / "optimized.onnx"), 3
    runtime.InferenceSession(str(quantized.path), options, providers=["CPUExecutionProvider"])
    kinds = [node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node]
    assert kinds.count("QGemm") == len(quantizers(quantized.trained.field))
    assert not {"Conv", "ConvTranspose", "FusedConv", "Gemm"} & set(kinds)


def test_channels_that_normalisation_turns_around_keep_their_sign() -> None:
    layer = IntegerLayer(Pointwise(2, 3), [Grid(0.5, 0)])
    layer.weight.copy_(torch.tensor([[3, 1], [-4, 2], [9, 9]]).view(3, 2, 1, 1))
    layer.scale.copy_(torch.tensor([0.5, -0.25, 1e-12]))
    assert layer.bias is not None
    layer.bias.copy_(torch.tensor([0.25, -1.0, 40.0]))
    values = integer_values(Product(layer))
    weights = (values["weight"].astype(float) - 128) * values["weight_scale"]
    biases = values["whole_bias"] * values["bias_scale"]
    assert (weights.T == [[1.5, 0.5], [1.0, -0.5], [0.0, 0.0]]).all()
    assert biases.tolist() == pytest.approx([0.25, -1.0, 40.0])


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
