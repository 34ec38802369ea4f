"""Hooked fields as a whole: checkpoints rebuild the hooks, bitstreams bake or carry them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from nerfcomp.artifacts.artifact import SceneArtifact
from nerfcomp.artifacts.checkpoint import DESCRIPTION_KEY, load_file, read_checkpoint, write_checkpoint
from nerfcomp.artifacts.coded_tensors import coded_tensors
from nerfcomp.artifacts.kinds import of_scene, rebuild
from nerfcomp.artifacts.light_field import LightFieldArtifact
from nerfcomp.artifacts.nfc import (
    decode_artifact,
    encode_artifact,
    fp32_bytes,
    quantize_field,
    uniform_allocation,
)
from nerfcomp.artifacts.radiance_field import RadianceFieldArtifact
from nerfcomp.artifacts.scene_info import SceneInfo
from nerfcomp.compression import (
    LocalScaling,
    baked_copy,
    chosen_weights,
    describe_hooks,
    hold_masks,
    named_masks,
    named_scales,
    plain_parameters,
)
from nerfcomp.errors import ContainerError
from nerfcomp.fields import LightField, NGPField
from nerfcomp.rate_control.allocator import Allocator
from nerfcomp.rate_control.targets import RateTarget, encode_for
from nerfcomp.readers import ProceduralReader
from nerfcomp.rendering import OccupancySampler
from tests.compression.test_hooks import Shifting


def scene() -> Any:
    return ProceduralReader(image_size=8, n_train=2, n_val=1, n_test=1, supersampling=1).read("train")


def grid_field() -> SceneArtifact:
    """Linear layers and grid levels."""
    views = scene()
    field = NGPField(levels=3, log2_table_size=9, finest_resolution=32, hidden_width=16)
    with torch.no_grad():
        for level in field.grid.parameters():
            level.normal_(0.0, 0.5)
    field.set_aabb(views.aabb)
    sampler = OccupancySampler(resolution=16, n_steps=32)
    sampler.prepare(views.aabb, views.camera, False, views.images[..., 3])
    return RadianceFieldArtifact(field=field.eval(), sampler=sampler.eval(), scene=SceneInfo.from_scene(views))


def student(batch_norm: bool) -> SceneArtifact:
    """Convolutions."""
    sizes: dict[str, Any] = {"factors": [2, 2], "kernels": [4, 2], "tail_widths": [6, 4], "tail_blocks": [1, 1]}
    field = LightField(points_per_ray=2, octaves=2, width=8, n_blocks=1, batch_norm=batch_norm, **sizes)
    for name, buffer in field.named_buffers():
        if "running" in name:
            buffer.uniform_(0.5, 1.5)
    return LightFieldArtifact(field=field.eval(), scene=SceneInfo.from_scene(scene()))


KINDS: dict[str, Callable[[], SceneArtifact]] = {
    "grid": grid_field,
    "student": lambda: student(False),
    "normalised": lambda: student(True),
}


@pytest.fixture(params=KINDS)
def hooked(request: pytest.FixtureRequest) -> SceneArtifact:
    """Half of all weights masked, and factors on the rows of those that have outputs."""
    torch.manual_seed(0)
    trained = KINDS[request.param]()
    weights = chosen_weights(trained.field, ["*.weight"])
    hold_masks(trained.field, {name: torch.rand_like(value) > 0.5 for name, value in weights.items()})
    LocalScaling().attach(trained.field)
    with torch.no_grad():
        for scale in named_scales(trained.field).values():
            scale.uniform_(0.8, 1.2)
        for name, value in plain_parameters(trained.field).items():
            if name in weights:
                value.add_(0.01)  # as momentum does to what is masked
    return trained


def picture(trained: SceneArtifact) -> torch.Tensor:
    return trained.draw(trained.scene.camera).rgb


def test_checkpoints_rebuild_hooks(hooked: SceneArtifact, tmp_path: Path) -> None:
    described = describe_hooks(hooked.field)
    assert [hook["class_path"].rpartition(".")[2] for hook in described] == ["Masking", "LocalScaling"]
    assert described[0]["init_args"]["weights"] == list(named_masks(hooked.field))
    write_checkpoint(hooked, tmp_path / "hooked.ckpt")
    twin = of_scene(read_checkpoint(tmp_path / "hooked.ckpt"), "test")
    assert describe_hooks(twin.field) == described and torch.equal(picture(twin), picture(hooked))
    assert twin.field.state_dict().keys() == hooked.field.state_dict().keys()
    assert fp32_bytes(twin) == fp32_bytes(hooked) == fp32_bytes(hooked.without_hooks())


def test_bitstreams_bake_masks_and_carry_scales(hooked: SceneArtifact) -> None:
    container = encode_for(hooked, RateTarget(-28, uniform=True))
    coded = coded_tensors(hooked.for_coding().field)
    folded = getattr(hooked.field, "batch_norm", False)  # normalisation takes scales in
    carried = [] if folded else [f"{name}_scaling" for name in named_scales(hooked.field)]
    assert [name for name in coded if name.endswith("_scaling")] == carried and "hooks" not in container.header
    decoded = of_scene(decode_artifact(container, trust=True), "test")
    truth = dict(hooked.for_coding().without_hooks().field.named_parameters())
    for name, mask in named_masks(hooked.field).items():
        weight = decoded.field.get_parameter(name)
        assert bool((weight[~mask] == 0).all()) and (weight - truth[name]).abs().max() < 0.02, name
    assert (picture(decoded) - picture(hooked)).abs().max() < 0.1


def test_what_is_quantized_is_what_is_decoded(hooked: SceneArtifact) -> None:
    start = hooked.for_coding()
    quantized = quantize_field(start, uniform_allocation(start, -20))
    assert named_masks(quantized.field) == {}
    decoded = decode_artifact(encode_for(quantized, RateTarget()), trust=True)
    for name, value in baked_copy(quantized.field).named_parameters():
        assert torch.allclose(decoded.field.get_parameter(name), value, atol=2e-3), name


@pytest.mark.slow
def test_sensitivities_are_measured_under_hooks(hooked: SceneArtifact) -> None:
    allocation = Allocator(hooked.for_coding(), uniform=False).allocate(-24)
    assert set(allocation.qp) >= {f"{name}_scaling" for name in named_scales(hooked.for_coding().field)}
    found = hooked.sensitivity()
    for name, mask in named_masks(hooked.field).items():
        assert bool((found[name][~mask] == 0).all()), name
    assert any(bool((value > 0).any()) for value in found.values())


def test_masks_that_are_not_baked_cannot_be_encoded() -> None:
    trained = student(False)
    hold_masks(trained.field, {"rgb.weight": torch.zeros(3, 4, 1, 1, dtype=torch.bool)})
    with pytest.raises(ValueError, match="call `for_coding` on it first"):
        encode_artifact(trained, uniform_allocation(trained, -20))


def test_hooks_of_others_are_baked_but_not_built_from_files(tmp_path: Path) -> None:
    trained = student(False)
    Shifting(["rgb.weight"]).attach(trained.field)
    decoded = decode_artifact(encode_for(trained, RateTarget(-40)), trust=True)
    shifted = baked_copy(trained.field).get_parameter("rgb.weight")
    assert (decoded.field.get_parameter("rgb.weight") - shifted).abs().max() < 1e-3
    write_checkpoint(trained, tmp_path / "other.ckpt")
    with pytest.raises(ContainerError, match="Shifting'; only .*LocalScaling, .*Masking, .*may be built"):
        read_checkpoint(tmp_path / "other.ckpt")


@pytest.mark.parametrize(
    "hooks",
    [
        "LocalScaling",
        [{"class_path": "nerfcomp.compression.LocalScaling"}],
        [{"class_path": "os.system", "init_args": {}}],
        [{"class_path": "nerfcomp.compression.Masking", "init_args": {"weights": "*"}}],
        [{"class_path": "nerfcomp.compression.Masking", "init_args": {"weights": ["rgb.weight", "none.weight"]}}],
        [{"class_path": "nerfcomp.compression.Masking", "init_args": {"weights": ["none.weight"]}}],
        [{"class_path": "nerfcomp.compression.Masking", "init_args": {"rows": 3}}],
        [{"class_path": "nerfcomp.compression.Masking", "init_args": {}}] * 17,
    ],
)
def test_hooks_of_a_file_are_checked(hooks: Any) -> None:
    with pytest.raises(ContainerError):
        rebuild({**student(False).describe(), "hooks": hooks})


def test_scales_of_earlier_checkpoints_are_found(tmp_path: Path) -> None:
    trained = grid_field()
    LocalScaling(["density_mlp.*"]).attach(trained.field)
    with torch.no_grad():
        for scale in named_scales(trained.field).values():
            scale.fill_(1.5)
    write_checkpoint(trained, tmp_path / "now.ckpt")
    content = load_file(tmp_path / "now.ckpt")
    del content[DESCRIPTION_KEY]["hooks"]
    torch.save(content, tmp_path / "before.ckpt")
    twin = read_checkpoint(tmp_path / "before.ckpt")
    assert list(named_scales(twin.field)) == list(named_scales(trained.field))
    assert all(bool((scale == 1.5).all()) for scale in named_scales(twin.field).values())
