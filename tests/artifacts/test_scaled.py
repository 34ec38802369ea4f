"""Fields with local scaling: quantized, tuned, kept in checkpoints and bitstreams, decoded without a trace of it."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from nerfcomp.artifacts.checkpoint import read_checkpoint, write_checkpoint
from nerfcomp.artifacts.coded_tensors import SideQP, coded_tensors, sections_of
from nerfcomp.artifacts.kinds import of_kind, rebuild
from nerfcomp.artifacts.nfc import (
    BitAllocation,
    decode_artifact,
    encode_artifact,
    fp32_bytes,
    quantize_field,
    uniform_allocation,
)
from nerfcomp.artifacts.radiance_field import RadianceFieldArtifact
from nerfcomp.artifacts.scene_info import SceneInfo
from nerfcomp.codec import from_bytes, to_bytes
from nerfcomp.compression import LocalScaling, bake, named_scales, plain_parameters
from nerfcomp.errors import ContainerError, NerfcompError
from nerfcomp.fields import NeRFField, NGPField, RadianceField
from nerfcomp.geometry.rays import image_rays
from nerfcomp.rate_control.targets import RateTarget, encode_for
from nerfcomp.readers import ProceduralReader
from nerfcomp.rendering import HierarchicalSampler, OccupancySampler, Sampler


def ngp() -> tuple[RadianceField, Sampler]:
    field = NGPField(levels=3, log2_table_size=9, finest_resolution=32, hidden_width=16)
    with torch.no_grad():
        for level in field.grid.parameters():
            level.normal_(0.0, 0.5)
    return field, OccupancySampler(resolution=16, n_steps=32)


def pair() -> tuple[RadianceField, Sampler]:
    field = NeRFField(depth=3, width=16, skips=[1], position_frequencies=3, direction_frequencies=2)
    return field, HierarchicalSampler(8, 8, resolution=8)


@pytest.fixture(params=[ngp, pair])
def trained(request: pytest.FixtureRequest) -> RadianceFieldArtifact:
    scene = ProceduralReader(image_size=8, n_train=2, n_val=1, n_test=1, supersampling=1).read("train")
    field, sampler = request.param()
    field.set_aabb(scene.aabb)
    sampler.prepare(scene.aabb, scene.camera, False, scene.images[..., 3])
    return RadianceFieldArtifact(field=field.eval(), sampler=sampler.eval(), scene=SceneInfo.from_scene(scene))


def tuned(trained: RadianceFieldArtifact, qp: int = -24) -> RadianceFieldArtifact:
    """A quantized field whose scales and biases have moved."""
    quantized = quantize_field(trained, uniform_allocation(trained, qp))
    LocalScaling().attach(quantized.field)
    with torch.no_grad():
        for scale in named_scales(quantized.field).values():
            scale.uniform_(0.9, 1.1)
        for name, parameter in plain_parameters(quantized.field).items():
            if name.endswith("bias"):
                parameter.add_(0.01 * torch.randn_like(parameter))
    return quantized.replace(qp=uniform_allocation(quantized, qp).qp)


def picture(trained: RadianceFieldArtifact) -> torch.Tensor:
    rays = image_rays(trained.scene.camera, 0, trained.scene.near, trained.scene.far)
    return trained.render(rays).rgb


def test_names_in_a_stream() -> None:
    field, _ = pair()
    LocalScaling().attach(field)
    names = list(coded_tensors(field))
    assert {"model.pts_linears.0.weight", "model.pts_linears.0.bias"} <= set(names)
    assert coded_tensors(field)["model_fine.alpha_linear.weight_scaling"].shape == (1,)
    assert len(names) == 3 * len(named_scales(field))


def test_a_large_network_has_a_section_of_its_own() -> None:
    field = NeRFField(depth=3, width=96, skips=[1], fine_width=16, position_frequencies=3, direction_frequencies=2)
    LocalScaling().attach(field)
    sections = sections_of(field)
    assert {section for name, section in sections.items() if name.startswith("model.")} == {"model"}
    assert {section for name, section in sections.items() if name.startswith("model_fine.")} == {"small"}
    grid = NGPField(levels=8, log2_table_size=14, finest_resolution=256)
    assert set(sections_of(grid).values()) > {"small", "grid.levels.7"}


def test_quantized_weights_are_coded_as_they_are(trained: RadianceFieldArtifact) -> None:
    quantized = quantize_field(trained, uniform_allocation(trained, -20))
    before = {name: value.clone() for name, value in plain_parameters(trained.field).items()}
    decoded = decode_artifact(encode_artifact(quantized, BitAllocation(quantized.qp or {})), trust=True)
    for name, value in plain_parameters(decoded.field).items():
        assert torch.equal(value, before[name])


def test_decoded_is_folded(trained: RadianceFieldArtifact) -> None:
    scaled = tuned(trained)
    container = from_bytes(to_bytes(encode_for(scaled, RateTarget())))
    assert "qp" not in container.header
    decoded = of_kind(decode_artifact(container, trust=True), RadianceFieldArtifact, "test")
    assert decoded.qp is None and named_scales(decoded.field) == {}
    folded = copy.deepcopy(scaled.field)
    bake(folded)
    for name, value in plain_parameters(decoded.field).items():
        assert (value - plain_parameters(folded)[name]).abs().max() < 2e-3 * value.abs().max() + 1e-3, name
    assert (picture(decoded) - picture(scaled)).abs().max() < 0.02


def test_checkpoint_keeps_scales_and_qps(trained: RadianceFieldArtifact, tmp_path: Path) -> None:
    scaled = tuned(trained)
    write_checkpoint(scaled, tmp_path / "a.ckpt")
    twin = read_checkpoint(tmp_path / "a.ckpt")
    assert twin.qp == scaled.qp and fp32_bytes(twin) == fp32_bytes(rebuild(trained.describe()))
    assert to_bytes(encode_for(twin, RateTarget())) == to_bytes(encode_for(scaled, RateTarget()))


def test_side_tensors_have_qps_of_their_own(trained: RadianceFieldArtifact) -> None:
    LocalScaling().attach(trained.field)
    plan = uniform_allocation(trained, -20, SideQP(scale=-50, bias=-40))
    ends = {"weight_scaling": -50, "bias": -40, "weight": -20}
    assert all(plan.qp[name] == ends[name.rpartition(".")[2]] for name in coded_tensors(trained.field))


def test_a_limit_comes_too_late_for_quantized_weights(trained: RadianceFieldArtifact) -> None:
    with pytest.raises(NerfcompError, match="quantized already"):
        encode_for(tuned(trained), RateTarget(target_bytes=10000))


@pytest.mark.parametrize("qp", [{"a": 300}, {"a": True}, {"a": "-20"}, [1], {"a": -20.0}])
def test_qps_of_a_file_are_checked(trained: RadianceFieldArtifact, qp: Any) -> None:
    with pytest.raises(ContainerError):
        rebuild({**trained.describe(), "qp": qp})
