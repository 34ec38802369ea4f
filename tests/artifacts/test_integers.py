"""Models in integers: they agree with what was trained, and files hold them bit for bit."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from nerfcomp.artifacts.artifact import SceneArtifact
from nerfcomp.artifacts.checkpoint import read_checkpoint, write_checkpoint
from nerfcomp.artifacts.coded_tensors import integer_tensors
from nerfcomp.artifacts.integers import calibrated, entropy_of_weights, to_integers
from nerfcomp.artifacts.kinds import rebuild
from nerfcomp.artifacts.light_field import LightFieldArtifact
from nerfcomp.artifacts.nfc import decode_artifact, encode_artifact, fp32_bytes, uniform_allocation
from nerfcomp.artifacts.radiance_field import RadianceFieldArtifact
from nerfcomp.artifacts.scene_info import SceneInfo
from nerfcomp.artifacts.volume import VolumeArtifact
from nerfcomp.artifacts.volume_info import VolumeInfo
from nerfcomp.codec import Container, from_bytes, to_bytes
from nerfcomp.compression import FakeQuantization, quantizers
from nerfcomp.errors import ContainerError
from nerfcomp.fields import HashVolume, LightField, NeRFField, NGPField, RadianceField, integer_layers
from nerfcomp.kernels.int8_linear import proven_backend
from nerfcomp.readers import ProceduralReader
from nerfcomp.rendering import HierarchicalSampler, OccupancySampler, Sampler


def scene_info() -> SceneInfo:
    scene = ProceduralReader(image_size=16, n_train=3, n_val=1, n_test=1, supersampling=1).read("train")
    return SceneInfo.from_scene(scene)


def radiance(field: RadianceField, sampler: Sampler) -> RadianceFieldArtifact:
    info = scene_info()
    field.set_aabb(torch.tensor(info.aabb))
    sampler.prepare(torch.tensor(info.aabb))
    return RadianceFieldArtifact(field=field.eval(), sampler=sampler.eval(), scene=info)


def nerf(use_viewdirs: bool = True) -> SceneArtifact:
    """Two networks, of some density everywhere."""
    field = NeRFField(4, 32, [1], 4, 2, use_viewdirs)
    for network in field.networks:
        with torch.no_grad():
            network.density_layer.bias.fill_(2.0)
    return radiance(field, HierarchicalSampler(8, 8, resolution=8))


def ngp() -> SceneArtifact:
    field = NGPField(levels=3, log2_table_size=10, finest_resolution=32, hidden_width=16)
    with torch.no_grad():
        for level in field.grid.parameters():
            level.normal_(0.0, 0.5)
    return radiance(field, OccupancySampler(resolution=16, n_steps=32))


def student(kernel: int = 4) -> SceneArtifact:
    field = LightField(2, 2, 16, 1, [2, 2], [kernel, 2], [8, 8], [1, 0], batch_norm=False)
    field.set_aabb(torch.tensor(scene_info().aabb))
    return LightFieldArtifact(field=field.eval(), scene=scene_info())


MODELS: dict[str, Callable[[], SceneArtifact]] = {
    "nerf": nerf,
    "no directions": lambda: nerf(False),
    "ngp": ngp,
    "student": student,
    "apart": lambda: student(2),
}


@pytest.fixture(params=list(MODELS))
def trained(request: pytest.FixtureRequest) -> SceneArtifact:
    torch.manual_seed(0)
    return MODELS[request.param]()


def picture(trained: SceneArtifact) -> torch.Tensor:
    with trained.evaluating():
        return trained.draw(trained.scene.camera._replace(c2w=trained.scene.camera.c2w[:1])).rgb


@pytest.mark.slow
def test_integers_draw_what_was_trained(trained: SceneArtifact) -> None:
    fake = calibrated(trained, [FakeQuantization()], 2)
    integers, truth = picture(to_integers(fake)), picture(fake)
    assert (integers - truth).abs().mean() < 2e-3
    assert (truth - picture(trained)).abs().mean() < 3e-2
    assert not torch.equal(truth, picture(trained))


@pytest.mark.slow
@pytest.mark.parametrize("plain", [True, False])
def test_files_hold_integers_bit_for_bit(trained: SceneArtifact, plain: bool) -> None:
    integers = to_integers(calibrated(trained, [FakeQuantization(bits=6)], 1))
    container = encode_artifact(integers, uniform_allocation(integers, -40), plain_integers=plain)
    decoded = decode_artifact(from_bytes(to_bytes(container)), trust=True)
    assert isinstance(decoded, SceneArtifact)
    mine, theirs = integer_tensors(integers.field), integer_tensors(decoded.field)
    assert mine.keys() == theirs.keys() and any(value.dtype == torch.int8 for value in mine.values())
    assert all(torch.equal(value, theirs[name]) for name, value in mine.items())
    assert all(int(value.abs().max()) <= 31 for value in mine.values() if value.dtype == torch.int8)
    if set(mine) == {name for name, _ in integers.field.named_parameters()}:
        assert torch.equal(picture(decoded), picture(integers))
    assert fp32_bytes(integers) == fp32_bytes(trained)


@pytest.mark.slow
def test_checkpoints_hold_integers_and_what_trains_for_them(trained: SceneArtifact, tmp_path: Path) -> None:
    fake = calibrated(trained, [FakeQuantization(bits=4)], 1)
    for number, model in enumerate((fake, to_integers(fake))):
        write_checkpoint(model, tmp_path / f"{number}.ckpt")
        again = read_checkpoint(tmp_path / f"{number}.ckpt")
        assert isinstance(again, SceneArtifact)
        assert torch.equal(picture(again), picture(model))


def test_a_volume_in_integers_is_what_was_calibrated_and_files_hold_it() -> None:
    torch.manual_seed(0)
    field = HashVolume(levels=2, log2_table_size=8, base_resolution=3, finest_resolution=6, hidden_width=8)
    with torch.no_grad():
        for parameter in field.parameters():
            parameter.normal_(0, 0.7)
    info = VolumeInfo((9, 8, 7), "uint16", 0.0, 60000.0, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), "density")
    trained = VolumeArtifact(field=field.eval(), info=info)
    fake = calibrated(trained, [FakeQuantization(bits=7)], 1)
    integers = to_integers(fake)
    assert {name for name in integer_tensors(integers.field) if name.endswith("weight")} == {
        f"head.layers.{layer}.weight" for layer in range(3)
    }
    for name, quantizer in quantizers(fake.field).items():
        weight, step = dict(field.named_parameters())[name], quantizer.log_scale.detach().exp()
        levels = torch.clamp(torch.round(weight.detach() / step), -63, 63)  # by hand
        assert torch.equal(integer_tensors(integers.field)[name].float(), levels)
    container = encode_artifact(integers, uniform_allocation(integers, -40))
    decoded = decode_artifact(from_bytes(to_bytes(container)), trust=True)
    mine, theirs = integer_tensors(integers.field), integer_tensors(decoded.field)
    assert all(torch.equal(value, theirs[name]) for name, value in mine.items())
    values = [model.values().astype(float) for model in (trained, fake, integers)]
    assert abs(values[2] - values[1]).mean() < 0.1 * abs(values[1] - values[0]).mean()


@pytest.mark.slow
def test_no_float_product_is_left_between_encodings_and_heads() -> None:
    if proven_backend() == "torch":
        pytest.skip("this processor has no AVX2")
    integers = to_integers(calibrated(nerf(), [FakeQuantization()], 1))
    assert isinstance(integers, RadianceFieldArtifact)
    x, d = torch.rand(5000, 3), torch.nn.functional.normalize(torch.rand(5000, 3), dim=1)
    with profile(activities=[ProfilerActivity.CPU]) as seen, torch.no_grad():
        integers.field.shade(x, d, torch.ones(5000))
    products = {"aten::mm", "aten::addmm", "aten::matmul", "aten::linear", "aten::bmm", "mkldnn::_linear_pointwise"}
    assert not {event.name for event in seen.events()} & products


def test_only_chosen_weights_become_integers() -> None:
    torch.manual_seed(0)
    integers = to_integers(calibrated(nerf(), [FakeQuantization(["model_fine.pts_linears.*"])], 1))
    assert {name.partition(".pts")[0] for name in integer_tensors(integers.field)} == {"model_fine"}
    assert bool(picture(integers).isfinite().all())


def test_entropy_of_weights() -> None:
    integers = to_integers(calibrated(nerf(False), [FakeQuantization()], 1))
    for layer in integer_layers(integers.field).values():
        layer.weight.zero_()
    assert entropy_of_weights(integers) == 0
    for layer in integer_layers(integers.field).values():
        layer.weight.flatten()[::4] = -127  # H(1/4) = 0.8113 bits
    assert entropy_of_weights(integers) == pytest.approx(0.8113, abs=2e-3)
    with pytest.raises(ValueError, match="no integer layers"):
        entropy_of_weights(nerf())


def test_ranges_must_be_known() -> None:
    trained = nerf()
    with pytest.raises(ValueError, match="No weight of this model is quantized"):
        to_integers(trained)
    FakeQuantization().attach(trained.field)
    with pytest.raises(ValueError, match="calibrate or train first"):
        to_integers(trained)


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        lambda int8: int8.update(nothing=[[0.1, 0]]),
        lambda int8: int8.update({"model.rgb_linear": [[0.1, 0], [0.1, 0]]}),
        lambda int8: int8.update({"model.rgb_linear": [[-0.1, 0]]}),
        lambda int8: int8.update({"model.rgb_linear": [[0.1, 300]]}),
        lambda int8: int8.update({"model.rgb_linear": "many"}),
    ],
)
def test_descriptions_that_do_not_fit_are_refused(change: Any) -> None:
    description = json.loads(json.dumps(to_integers(calibrated(nerf(), [FakeQuantization()], 1)).describe()))
    rebuild(description)
    change(description["int8"])
    with pytest.raises(ContainerError, match="int"):
        rebuild(description)


@pytest.mark.slow
def test_levels_beyond_eight_bits_are_refused() -> None:
    integers = to_integers(calibrated(nerf(), [FakeQuantization()], 1))
    container = encode_artifact(integers, uniform_allocation(integers, -40), plain_integers=True)
    (section,) = [section for section in container.sections if section.name == "integer_layers"]
    place = sum(integer_tensors(integers.field)[spec.name].nbytes for spec in section.tensors[:1])
    assert section.tensors[0].dtype == "int8" and place > 0
    bad = section._replace(data=b"\x80" + section.data[1:])
    with pytest.raises(ContainerError, match="whole number from -127 to 127"):
        decode_artifact(Container(container.header, (bad, *container.sections[1:])), trust=True)
