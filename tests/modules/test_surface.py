"""Training surfaces: losses, schedule, resuming, files."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from nerfcomp.artifacts.kinds import of_kind
from nerfcomp.artifacts.nfc import decode_artifact, encode_artifact, uniform_allocation
from nerfcomp.artifacts.reading import read_artifact
from nerfcomp.artifacts.surface import SurfaceArtifact
from nerfcomp.datamodules import RayDataModule
from nerfcomp.exchange.mesh import MeshOptions, field_mesh
from nerfcomp.fields import HashSurfaceField, NeuSField, SurfaceField
from nerfcomp.geometry.rays import RayBatch
from nerfcomp.modules import SurfaceModule
from nerfcomp.optim import GridAdam
from nerfcomp.readers import ProceduralReader, Scene, Split
from nerfcomp.rendering import OccupancySampler
from tests.modules.tiny_fields import data, quiet_fit

pytestmark = pytest.mark.slow


def tiny_hash() -> SurfaceField:
    torch.manual_seed(0)
    return HashSurfaceField(levels=4, log2_table_size=11, base_resolution=8, finest_resolution=64, hidden_width=32)


def tiny_neus() -> SurfaceField:
    torch.manual_seed(0)
    return NeuSField(sdf_hidden_layers=3, hidden_width=40, skip=2, rgb_hidden_layers=1)


def tiny_surrounded() -> SurfaceField:
    torch.manual_seed(0)
    shape = {"sdf_hidden_layers": 3, "hidden_width": 40, "skip": 2, "rgb_hidden_layers": 1}
    return NeuSField(**shape, background=True, background_depth=2, background_width=16)  # type: ignore[arg-type]


FIELDS = [tiny_hash, tiny_neus, tiny_surrounded]


def module(field: SurfaceField, **changes: float) -> SurfaceModule:
    sampler = OccupancySampler(resolution=32, n_steps=128)
    settings = {"max_samples": 1024, "uniform_points": 32, "curvature_weight": 1e-4, "start_levels": 2, **changes}
    return SurfaceModule(field, sampler, optimizer=lambda p: GridAdam(p, lr=3e-3), **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("make", FIELDS)
def test_every_loss_falls_or_stays(tmp_path: Path, make: object) -> None:
    training = module(make(), level_steps=10, anneal_steps=20, max_samples=4096)  # type: ignore[operator]
    seen: list[dict[str, float]] = []
    step = training.step

    def note(batch: RayBatch) -> dict[str, Tensor]:
        out = step(batch)
        seen.append({name: float(value.detach()) for name, value in out.items()})
        return out

    training.step = note  # type: ignore[method-assign]
    quiet_fit(training, data(), tmp_path, 40)
    names = {"loss", "rgb", "eikonal", "mask", "psnr", "s_inverse", "unit_share", "samples_per_ray", "rays"}
    assert names <= set(seen[0]) and ("curvature" in seen[0]) == (make is tiny_hash)
    early, late = (
        {name: sum(row[name] for row in rows) / len(rows) for name in ("rgb", "mask")}
        for rows in (seen[:10], seen[-10:])
    )
    assert late["rgb"] < early["rgb"] and late["mask"] < early["mask"]
    assert seen[0]["loss"] == pytest.approx(sum(seen[0].get(n, 0) for n in ("rgb", "eikonal", "mask", "curvature")))
    assert training.field.annealed == 1.0 and training.field.arguments["annealed"] == 1.0


def test_levels_come_in_as_scheduled() -> None:
    training = module(tiny_hash(), level_steps=5, anneal_steps=10)
    field = training.field
    assert isinstance(field, HashSurfaceField)
    for step, levels, annealed in ((0, 2, 0.0), (4, 2, 0.4), (5, 3, 0.5), (12, 4, 1.0), (500, 4, 1.0)):
        training.follow_schedule(step)
        assert (field.active_levels, field.annealed) == (levels, annealed)
    assert field.arguments["active_levels"] is None


def test_a_resumed_run_goes_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    straight, resumed = (module(tiny_hash(), level_steps=3, anneal_steps=6) for _ in range(2))
    quiet_fit(straight, data(), tmp_path, 6)
    first = module(tiny_hash(), level_steps=3, anneal_steps=6)
    quiet_fit(first, data(), tmp_path, 3).save_checkpoint(tmp_path / "first.ckpt")
    quiet_fit(resumed, data(), tmp_path, 6, tmp_path / "first.ckpt")
    assert all(torch.equal(value, resumed.state_dict()[name]) for name, value in straight.state_dict().items())
    young = of_kind(read_artifact(tmp_path / "first.ckpt"), SurfaceArtifact, "This shows")
    assert isinstance(young.field, HashSurfaceField) and young.field.active_levels == 2


@pytest.mark.parametrize("make", FIELDS)
def test_a_file_alone_gives_pictures_normals_and_the_mesh(tmp_path: Path, make: object) -> None:
    training = module(make())  # type: ignore[operator]
    quiet_fit(training, data(), tmp_path, 2)
    trained = training.trained.replace(field=training.field.eval(), sampler=training.sampler.eval())
    file = encode_artifact(trained.for_coding(), uniform_allocation(trained.for_coding(), -44))
    decoded = of_kind(decode_artifact(file, trust=True), SurfaceArtifact, "This shows")
    camera = trained.scene.scaled(0.5).camera
    one, other = decoded.draw(camera), trained.draw(camera)
    assert float((one.rgb - other.rgb).abs().max()) < 0.05
    assert one.normals is not None and other.normals is not None
    assert float((one.normals - other.normals).abs().mean()) < 0.02
    meshes = [field_mesh(model, MeshOptions(32, parts="all")) for model in (decoded, trained)]
    assert len(meshes[0].faces) == pytest.approx(len(meshes[1].faces), rel=0.1) and len(meshes[1].faces) > 100


def test_sensitivities_are_found_for_every_weight(tmp_path: Path) -> None:
    training = module(tiny_neus())
    quiet_fit(training, data(), tmp_path, 1)
    trained = training.trained.replace(field=training.field.eval(), sampler=training.sampler.eval()).for_coding()
    found = trained.sensitivity(batches=1, rays_per_batch=32)
    weights = [name for name, value in trained.field.named_parameters() if value.dim() > 1]
    assert set(weights) <= set(found) and all(float(found[name].sum()) > 0 for name in weights)
    assert set(trained.bounded_layers()) == set(weights)


class NestedReader(ProceduralReader):
    """The solids in the innermost of three nested cubes."""

    def read(self, split: Split) -> Scene:
        scene = super().read(split)
        return scene._replace(aabb=4 * scene.aabb, cascades=3, has_alpha=False, far=2 * scene.far)


@pytest.mark.parametrize("make", [tiny_hash, tiny_surrounded])
def test_scenes_with_surroundings_are_trained_and_resumed(tmp_path: Path, make: object) -> None:
    def views() -> RayDataModule:
        reader = NestedReader(image_size=16, n_train=3, n_val=1, n_test=1, supersampling=1)
        return RayDataModule(reader, batch_size=64, steps_per_epoch=10)

    straight, first, resumed = (module(make()) for _ in range(3))  # type: ignore[operator]
    quiet_fit(straight, views(), tmp_path, 4)
    quiet_fit(first, views(), tmp_path, 2).save_checkpoint(tmp_path / "first.ckpt")
    quiet_fit(resumed, views(), tmp_path, 4, tmp_path / "first.ckpt")
    assert all(torch.equal(value, resumed.state_dict()[name]) for name, value in straight.state_dict().items())
    surrounded = make is tiny_surrounded
    assert straight.field.cascades == (3 if surrounded else 1)
    known = of_kind(read_artifact(tmp_path / "first.ckpt"), SurfaceArtifact, "This shows")
    assert known.field.cascades == straight.field.cascades and len(known.sampler.occupied) == 3
    side = 1.5 if surrounded else 6.0
    assert float(known.field.half_side) == pytest.approx(float(views().split("train").aabb[1, 0]) * side / 6)


def test_alpha_comes_with_the_rays() -> None:
    views: RayDataModule = data()
    views.setup("fit")
    batch = views.train_dataloader().draw(0)
    assert batch.alpha is not None and batch.alpha.shape == (64,) and 0 < float(batch.alpha.mean()) < 1
    black = batch.alpha == 0
    assert torch.equal(batch.rgb[black], batch.background[black])
