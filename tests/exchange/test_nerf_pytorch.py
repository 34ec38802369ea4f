"""A vanilla NeRF from nerf-pytorch's file to ours and back: the same pictures all the way."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from nerfcomp.artifacts.checkpoint import read_checkpoint, write_checkpoint
from nerfcomp.artifacts.kinds import of_kind
from nerfcomp.artifacts.nfc import decode_artifact, encode_artifact, uniform_allocation
from nerfcomp.artifacts.radiance_field import RadianceFieldArtifact
from nerfcomp.artifacts.scene_info import SceneInfo
from nerfcomp.errors import CheckpointError
from nerfcomp.evaluation.views import evaluate_views
from nerfcomp.exchange.nerf_pytorch import export_nerf, from_nerf_pytorch, import_nerf, to_nerf_pytorch, usual_distances
from nerfcomp.fields import NeRFField, NGPField
from nerfcomp.geometry.rays import Rays, image_rays
from nerfcomp.readers import BlenderReader, ProceduralReader
from nerfcomp.readers.nerf_pytorch import read_nerf_pytorch, unpack_nerf_pytorch
from nerfcomp.rendering import HierarchicalSampler
from tests.nerf_reference import render_ray
from tests.readers.builders import write_blender


@pytest.fixture(scope="module")
def scene() -> SceneInfo:
    reader = ProceduralReader(image_size=8, n_train=3, n_val=1, n_test=1, supersampling=1)
    return SceneInfo.from_scene(reader.read("train"))._replace(near=2.0, far=6.0)


def field(**arguments: object) -> NeRFField:
    torch.manual_seed(2)
    made = NeRFField(**{"width": 32, **arguments})  # type: ignore[arg-type]
    with torch.no_grad():
        for network in made.networks:
            network.density_layer.weight *= 30
    return made


def trained_field(scene: SceneInfo, **arguments: object) -> RadianceFieldArtifact:
    sampler = HierarchicalSampler(resolution=16)
    sampler.prepare(torch.tensor(scene.aabb))
    made = field(**arguments)
    made.set_aabb(torch.tensor(scene.aabb))
    return RadianceFieldArtifact(field=made.eval(), sampler=sampler.eval(), scene=scene)


def test_exported_file_renders_the_same_picture_by_the_reference(scene: SceneInfo, tmp_path: Path) -> None:
    trained = trained_field(scene)
    export_nerf(trained, tmp_path / "200000.tar")
    saved = torch.load(tmp_path / "200000.tar", weights_only=True)
    assert saved["global_step"] == 200000
    rays = image_rays(scene.camera, 1, scene.near, scene.far)
    some = Rays(*(value[18:46:9] for value in rays))
    found = trained.render(some).rgb
    for row in range(len(found)):
        expected = render_ray(
            saved["network_fn_state_dict"],
            saved["network_fine_state_dict"],
            some.origins[row].double().numpy(),
            some.directions[row].double().numpy(),
            (2.0, 6.0),
        )
        np.testing.assert_allclose(found[row].numpy(), expected, atol=1e-5)


def test_there_and_back(scene: SceneInfo, tmp_path: Path) -> None:
    trained = trained_field(scene, fine_width=24)
    export_nerf(trained, tmp_path / "a.tar", 77)
    twin = import_nerf(tmp_path / "a.tar", scene)
    assert read_nerf_pytorch(tmp_path / "a.tar").step == 77
    assert twin.field.arguments == trained.field.arguments | {"position_frequencies": 10}
    ours, theirs = trained.field.state_dict(), twin.field.state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(value, theirs[name]) for name, value in ours.items())


@pytest.mark.parametrize("arguments", [{"use_viewdirs": False}, {"fine": False}, {"depth": 3, "skips": [1]}])
def test_other_architectures_come_back(scene: SceneInfo, arguments: dict[str, object]) -> None:
    trained = trained_field(scene, **arguments)
    twin = from_nerf_pytorch(to_nerf_pytorch(trained), scene)
    x, d = torch.rand(9, 3), torch.nn.functional.normalize(torch.rand(9, 3), dim=1)
    for ask in ("shade", "coarse_shade"):
        a, b = (getattr(f, ask)(x, d, torch.ones(9)) for f in (trained.field, twin.field))
        assert torch.equal(a.rgb, b.rgb) and torch.equal(a.alpha, b.alpha)


def test_networks_of_different_depth_share_their_skips(scene: SceneInfo) -> None:
    trained = trained_field(scene, fine_depth=3, skips=[4])
    assert isinstance(from_nerf_pytorch(to_nerf_pytorch(trained), scene).field, NeRFField)


def test_networks_that_do_not_fit_together_are_refused(scene: SceneInfo) -> None:
    parts = [to_nerf_pytorch(trained_field(scene, **a)) for a in ({}, {"skips": [2]}, {"position_frequencies": 5})]
    for other in parts[1:]:
        content = {"network_fn_state_dict": parts[0].coarse, "network_fine_state_dict": other.fine}
        with pytest.raises(CheckpointError, match="Coarse and fine"):
            from_nerf_pytorch(unpack_nerf_pytorch(content), scene)


def test_other_fields_are_refused(scene: SceneInfo) -> None:
    with pytest.raises(CheckpointError, match="NGPField"):
        to_nerf_pytorch(trained_field(scene).replace(field=NGPField(levels=1, log2_table_size=4)))


@pytest.mark.slow
def test_checkpoint_and_bitstream_carry_it(scene: SceneInfo, tmp_path: Path) -> None:
    trained = trained_field(scene)
    write_checkpoint(trained, tmp_path / "a.ckpt")
    rays = image_rays(scene.camera, 0, scene.near, scene.far)
    picture = trained.render(rays).rgb
    kept = of_kind(read_checkpoint(tmp_path / "a.ckpt"), RadianceFieldArtifact, "test")
    assert torch.equal(kept.render(rays).rgb, picture)
    container = encode_artifact(trained, uniform_allocation(trained, -40))
    decoded = of_kind(decode_artifact(container, trust=True), RadianceFieldArtifact, "test")
    assert isinstance(decoded.sampler, HierarchicalSampler)
    assert (decoded.render(rays).rgb - picture).abs().max() < 0.05


def corner_directions(scene: SceneInfo, pose: torch.Tensor) -> NDArray[np.float64]:
    """Unit directions (H W, 3) of nerf-pytorch's get_rays."""
    i, j = np.meshgrid(np.arange(scene.width), np.arange(scene.height), indexing="xy")
    focal = scene.intrinsics[0]
    local = [(i - 0.5 * scene.width) / focal, -(j - 0.5 * scene.height) / focal, -np.ones(i.shape)]
    directions = np.stack(local, -1).reshape(-1, 3) @ pose[:, :3].double().numpy().T
    unit: NDArray[np.float64] = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    return unit


@pytest.mark.slow
@pytest.mark.parametrize("theirs", [True, False])
def test_pictures_that_nerf_pytorch_draws_are_met(theirs: bool, tmp_path: Path) -> None:
    """With its own rays and distances, on a scene that a default reader reads; one of ours comes back as it was."""
    scene = ProceduralReader(image_size=6, n_train=2, n_val=1, n_test=1, supersampling=1).read("test")
    info = SceneInfo.from_scene(scene)
    made = trained_field(info._replace(near=2.0, far=6.0).with_rays(pixel_centers=not theirs))
    export_nerf(made, tmp_path / "a.tar")
    saved = torch.load(tmp_path / "a.tar", weights_only=True)
    if theirs:
        pose = scene.camera.c2w[0]
        states = saved["network_fn_state_dict"], saved["network_fine_state_dict"]
        origin = pose[:, 3].double().numpy()
        drawn = [render_ray(*states, origin, d, (2.0, 6.0)) for d in corner_directions(info, pose)]
        image = torch.from_numpy(np.array(drawn)).view(6, 6, 3)
    else:
        image = made.render(image_rays(scene.camera, 0, 2.0, 6.0)).rgb.view(6, 6, 3)
    opaque = torch.cat([image * 255, torch.full((6, 6, 1), 255.0)], -1).round().byte()
    real = scene._replace(images=opaque[None])
    twin = import_nerf(
        tmp_path / "a.tar", SceneInfo.from_scene(usual_distances(real)), HierarchicalSampler(resolution=8)
    )
    assert twin.scene.pixel_centers is not theirs
    assert evaluate_views(twin, real)[0].psnr > 50.0


def test_export_warns_of_rays_through_centres(scene: SceneInfo, caplog: pytest.LogCaptureFixture) -> None:
    to_nerf_pytorch(trained_field(scene.with_rays(pixel_centers=False)))
    assert not caplog.records
    to_nerf_pytorch(trained_field(scene))
    assert "half a pixel aside" in caplog.text


@pytest.mark.parametrize("radius", [1.0, 3.0, 4.031, 4.5, 12.0])
def test_distances_of_nerf_pytorch_where_the_cameras_fit(radius: float, tmp_path: Path) -> None:
    scene = BlenderReader(write_blender(tmp_path, radius=radius)).read("train")
    found = usual_distances(scene)
    assert (found.near, found.far) == ((2.0, 6.0) if radius == 4.031 else (scene.near, scene.far))
