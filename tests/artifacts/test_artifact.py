"""Trained fields through descriptions, checkpoints and bitstreams; what does not fit is refused with a sentence."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from nerfcomp.artifacts.checkpoint import read_checkpoint, write_checkpoint
from nerfcomp.artifacts.kinds import of_kind, rebuild
from nerfcomp.artifacts.nfc import decode_artifact, encode_artifact, fp32_bytes, uniform_allocation
from nerfcomp.artifacts.radiance_field import RadianceFieldArtifact
from nerfcomp.artifacts.scene_info import SceneInfo
from nerfcomp.codec import Container, from_bytes, to_bytes
from nerfcomp.errors import ContainerError, NerfcompError
from nerfcomp.fields import NGPField
from nerfcomp.geometry.paths import spherical_path
from nerfcomp.geometry.rays import image_rays
from nerfcomp.rate_control.allocator import allocate_bits
from nerfcomp.rate_control.targets import COARSEST_QP, RateTarget, encode_for
from nerfcomp.readers import ProceduralReader
from nerfcomp.rendering import OccupancySampler

FIELD = {"levels": 3, "log2_table_size": 13, "finest_resolution": 32, "hidden_width": 16}


@pytest.fixture(scope="module")
def trained() -> RadianceFieldArtifact:
    torch.manual_seed(0)
    scene = ProceduralReader(image_size=8, n_train=3, n_val=1, n_test=1, supersampling=1).read("train")
    field, sampler = NGPField(**FIELD), OccupancySampler(resolution=16, n_steps=32)  # type: ignore[arg-type]
    with torch.no_grad():
        for level in field.grid.parameters():
            level.normal_(0.0, 0.5)
    field.set_aabb(scene.aabb)
    sampler.prepare(scene.aabb, scene.camera, False, scene.images[..., 3])
    return RadianceFieldArtifact(field=field.eval(), sampler=sampler.eval(), scene=SceneInfo.from_scene(scene))


@pytest.mark.slow
def test_description_is_json_and_rebuilds(trained: RadianceFieldArtifact) -> None:
    twin = of_kind(rebuild(json.loads(json.dumps(trained.describe()))), RadianceFieldArtifact, "test")
    assert twin.scene == trained.scene
    assert twin.field.arguments == trained.field.arguments and twin.sampler.arguments == trained.sampler.arguments


def test_checkpoint_keeps_everything(trained: RadianceFieldArtifact, tmp_path: Path) -> None:
    write_checkpoint(trained, tmp_path / "a.ckpt")
    twin = of_kind(read_checkpoint(tmp_path / "a.ckpt"), RadianceFieldArtifact, "test")
    rays = image_rays(trained.scene.camera, 0, trained.scene.near, trained.scene.far)
    assert torch.equal(twin.render(rays).rgb, trained.render(rays).rgb)


def test_rendering_does_not_jitter_in_training_mode(trained: RadianceFieldArtifact) -> None:
    rays = image_rays(trained.scene.camera, 0, trained.scene.near, trained.scene.far)
    still = trained.render(rays).rgb
    trained.sampler.train()
    assert torch.equal(trained.render(rays).rgb, still)
    trained.sampler.eval()


def test_bitstream_renders_without_any_other_file(trained: RadianceFieldArtifact) -> None:
    container = from_bytes(to_bytes(encode_artifact(trained, uniform_allocation(trained, -44))))
    twin = decoded(container, trust=True)
    assert twin.scene._replace(poses=()) == trained.scene._replace(poses=())
    assert torch.equal(twin.sampler.occupied, trained.sampler.occupied)
    rays = image_rays(trained.scene.camera, 0, trained.scene.near, trained.scene.far)
    assert (twin.render(rays).rgb - trained.render(rays).rgb).abs().max() < 0.01


@pytest.fixture(scope="module")
def seen_from_everywhere(trained: RadianceFieldArtifact) -> RadianceFieldArtifact:
    poses = spherical_path(60, 3.2, (0.2, 1.2), turns=3.0).flatten(1).tolist()
    return trained.replace(scene=trained.scene._replace(poses=tuple(tuple(pose) for pose in poses)))


def test_files_know_the_scene_from_everywhere(seen_from_everywhere: RadianceFieldArtifact) -> None:
    many = seen_from_everywhere
    allocation = uniform_allocation(many, -20)
    data = to_bytes(encode_artifact(many, allocation))
    one = to_bytes(encode_artifact(many.replace(scene=many.scene._replace(poses=many.scene.poses[:1])), allocation))
    assert 0 < len(data) - len(one) < 700
    twin = decoded(from_bytes(data), trust=True)
    assert twin.scene.poses[0] == many.scene.poses[0] and len(twin.scene.poses) == 24
    kept = torch.tensor(many.scene.poses)[[index * 60 // 24 for index in range(24)]]
    assert (torch.tensor(twin.scene.poses) - kept).abs().max() < 1.1e-3
    assert encode_artifact(twin, allocation).sections[-1] == from_bytes(data).sections[-1]


def test_sensitivities_of_a_decoded_file_come_from_many_views(seen_from_everywhere: RadianceFieldArtifact) -> None:
    many = seen_from_everywhere
    twin = decoded(encode_artifact(many, uniform_allocation(many, -44)), trust=True)
    rays = twin.random_rays(500, torch.Generator().manual_seed(0))
    assert len(rays.origins.unique(dim=0)) == 24
    middle = many.random_rays(500, torch.Generator().manual_seed(0)).origins.mean(0)
    assert (rays.origins.mean(0) - middle).norm() < 0.5


def test_poses_of_vast_scenes_keep_their_digits(trained: RadianceFieldArtifact) -> None:
    far = tuple((1.0, 0.0, 0.0, 1e6 + view, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0) for view in range(3))
    container = encode_artifact(
        trained.replace(scene=trained.scene._replace(poses=far)), uniform_allocation(trained, -20)
    )
    assert decoded(container, trust=True).scene.poses == far


def test_files_of_one_pose_are_read_and_named_where_it_matters(
    trained: RadianceFieldArtifact, caplog: pytest.LogCaptureFixture
) -> None:
    container = encode_artifact(trained, uniform_allocation(trained, -20))
    earlier = container._replace(sections=tuple(s for s in container.sections if s.name != "poses"))
    twin = decoded(earlier, trust=True)
    assert twin.scene.poses == trained.scene.poses[:1]
    assert not caplog.records
    twin.sensitivity(batches=1, rays_per_batch=64)
    assert "Only one pose" in caplog.text


def test_poses_of_a_wrong_shape_are_refused(trained: RadianceFieldArtifact) -> None:
    container = encode_artifact(trained, uniform_allocation(trained, -20))
    wrong = tuple(
        s._replace(tensors=(s.tensors[0]._replace(shape=(4, 6)),)) if s.name == "poses" else s
        for s in container.sections
    )
    with pytest.raises(ContainerError, match="poses"):
        decoded(container._replace(sections=wrong), trust=True)


def test_rendered_again_the_same_file_is_the_same_picture(trained: RadianceFieldArtifact) -> None:
    container = encode_artifact(trained, uniform_allocation(trained, -20))
    rays = image_rays(trained.scene.camera, 0, trained.scene.near, trained.scene.far)
    first, second = (decoded(container, trust) for trust in (True, False))
    assert torch.equal(first.render(rays).rgb, second.render(rays).rgb)


@pytest.mark.slow
def test_sensitivity_is_what_a_perturbation_costs(trained: RadianceFieldArtifact) -> None:
    h = trained.sensitivity(batches=64, rays_per_batch=256)
    name = "rgb_mlp.layers.2.weight"
    parameter = dict(trained.field.named_parameters())[name]
    rays = [image_rays(trained.scene.camera, view, trained.scene.near, trained.scene.far) for view in range(3)]
    before, original = [trained.render(r).rgb for r in rays], parameter.detach().clone()
    costs, sigma = [], 1e-3
    for _ in range(40):
        with torch.no_grad():
            parameter.copy_(original + sigma * torch.randn_like(parameter))
        costs.append(sum(((trained.render(r).rgb - b) ** 2).mean().item() for r, b in zip(rays, before)) / 3)
    with torch.no_grad():
        parameter.copy_(original)
    assert sum(costs) / len(costs) == pytest.approx(sigma**2 * h[name].sum().item(), rel=0.3)


def test_rd_lambda_makes_files_smaller_where_it_matters_least(trained: RadianceFieldArtifact) -> None:
    h = trained.sensitivity(batches=4, rays_per_batch=256)
    name = "grid.levels.2.weight"
    held = trained.read_rows().get(name, torch.ones(len(h[name]), dtype=torch.bool)).unsqueeze(1)
    unread, read = (h[name] == 0) & held, h[name] > 0  # by the rays that were drawn
    assert bool(unread.any()) and bool(read.any())
    free, priced = (encode_artifact(trained, allocate_bits(trained, -8, h, rd_lambda)) for rd_lambda in (0.0, 0.2))
    assert len(to_bytes(priced)) < 0.95 * len(to_bytes(free))
    exact = dict(trained.field.named_parameters())[name]
    errors = [(dict(decoded(file, trust=True).field.named_parameters())[name] - exact).abs() for file in (free, priced)]
    growth = [(errors[1][mask].mean() / errors[0][mask].mean()).item() for mask in (unread, read)]
    assert growth[0] > growth[1]


def test_a_limit_in_bytes_that_cannot_be_met(trained: RadianceFieldArtifact) -> None:
    with pytest.raises(NerfcompError, match=f"at QP {COARSEST_QP}, the coarsest, it has .* Raise target_bytes"):
        encode_for(trained, RateTarget(uniform=True, target_bytes=10))


def test_two_limits_at_once_are_refused(trained: RadianceFieldArtifact) -> None:
    with pytest.raises(NerfcompError, match="not both"):
        encode_for(trained, RateTarget(target_bytes=10, max_psnr_drop=1.0))
    with pytest.raises(NerfcompError, match="--reader"):
        encode_for(trained, RateTarget(uniform=True, max_psnr_drop=1.0))


def test_fp32_bytes_counts_parameters_only(trained: RadianceFieldArtifact) -> None:
    assert fp32_bytes(trained) == 4 * sum(p.numel() for p in trained.field.parameters())


def decoded(container: Container, trust: bool = False) -> RadianceFieldArtifact:
    return of_kind(decode_artifact(container, trust), RadianceFieldArtifact, "test")


def tampered(trained: RadianceFieldArtifact, **changes: Any) -> Container:
    container = encode_artifact(trained, uniform_allocation(trained, -20))
    return container._replace(header={**container.header, **changes})


@pytest.mark.parametrize(
    "change",
    [
        {"field": {"class_path": "nerfcomp.fields.MLP", "init_args": {"widths": [1, 2]}}},
        {"field": {"class_path": "nerfcomp.fields.NGPField", "init_args": {**FIELD, "levels": 4}}},
        {"field": {"class_path": "nerfcomp.fields.NGPField", "init_args": {**FIELD, "log2_table_size": 30}}},
        {"sampler": {"class_path": "nerfcomp.rendering.OccupancySampler", "init_args": {"resolution": 256}}},
        {"sampler": {"class_path": "builtins.exec", "init_args": {}}},
        {"sampler": {"class_path": "nerfcomp.rendering.OccupancySampler", "init_args": {"n_steps": -1}}},
        {"sampler": None},
    ],
)
def test_headers_that_do_not_fit_are_refused(trained: RadianceFieldArtifact, change: dict[str, Any]) -> None:
    with pytest.raises(ContainerError):
        decoded(tampered(trained, **change))


@pytest.mark.parametrize(
    "change",
    [
        {"near": -1.0},
        {"far": 0.0},
        {"height": 10**9},
        {"width": 0},
        {"aabb": [[0, 0, 0], [0, 0, 0]]},
        {"poses": []},
        {"poses": [[1.0] * 11]},
        {"intrinsics": [0.0, 1.0, 1.0, 1.0]},
        {"ndc": "yes"},
        {"background": [1.0]},
    ],
)
def test_scenes_that_cannot_be_rendered_are_refused(trained: RadianceFieldArtifact, change: dict[str, Any]) -> None:
    scene = {**trained.scene._asdict(), **change}
    with pytest.raises(ContainerError):
        decoded(tampered(trained, scene=scene))


def test_missing_description(trained: RadianceFieldArtifact) -> None:
    with pytest.raises(ContainerError):
        rebuild({"field": trained.describe()["field"]})
