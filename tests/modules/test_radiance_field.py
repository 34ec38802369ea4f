"""A field that goes on from another: its box, its distances and its rays stay with its weights."""

import shutil
from pathlib import Path

import pytest
import torch

from nerfcomp.artifacts.checkpoint import read_checkpoint, write_checkpoint
from nerfcomp.artifacts.kinds import of_kind
from nerfcomp.artifacts.nfc import decode_artifact, encode_artifact, uniform_allocation
from nerfcomp.artifacts.radiance_field import RadianceFieldArtifact
from nerfcomp.artifacts.scene_info import SceneInfo
from nerfcomp.datamodules import RayDataModule
from nerfcomp.errors import SceneError
from nerfcomp.fields import NeRFField, NGPField
from nerfcomp.geometry.rays import RayBatch, Rays, image_rays
from nerfcomp.modules import RadianceFieldModule, VanillaNeRFModule
from nerfcomp.readers import BlenderReader, ProceduralReader, Scene, Split
from nerfcomp.rendering import HierarchicalSampler, OccupancySampler
from tests.modules.tiny_fields import quiet_fit, tiny_ngp
from tests.readers.builders import write_blender

pytestmark = pytest.mark.slow

BOX = ((-1.25, -1.25, -1.25), (1.25, 1.25, 1.25))


@pytest.fixture
def start(tmp_path: Path) -> Path:
    """A field in a box of its own, between its own distances, along rays through corners."""
    field, sampler = tiny_ngp()
    scene = BlenderReader(write_blender(tmp_path / "scene"), half_side=1.25, near=2.5, far=5.5, pixel_centers=False)
    info = SceneInfo.from_scene(scene.read("train"))
    field.set_aabb(torch.tensor(BOX))
    sampler.prepare(torch.tensor(BOX))
    write_checkpoint(RadianceFieldArtifact(field=field, sampler=sampler, scene=info), tmp_path / "start.ckpt")
    return tmp_path / "start.ckpt"


def module(init_from: Path | None) -> RadianceFieldModule:
    return RadianceFieldModule(*tiny_ngp(), init_from=None if init_from is None else str(init_from))


def data(start: Path, radius: float = 4.0311) -> RayDataModule:
    root = write_blender(start.parent / f"scene{radius}", radius=radius)
    return RayDataModule(BlenderReader(root), batch_size=16, steps_per_epoch=10)


def test_box_distances_and_rays_stay_with_the_weights(start: Path, tmp_path: Path) -> None:
    continued, views = module(start), data(start)
    seen: list[Rays] = []
    step = continued.step

    def note(batch: RayBatch) -> dict[str, torch.Tensor]:
        seen.append(batch.rays)
        return step(batch)

    continued.step = note  # type: ignore[method-assign]
    quiet_fit(continued, views, tmp_path, 2)
    scene = continued.trained.scene
    assert (scene.aabb, scene.near, scene.far, scene.pixel_centers) == (BOX, 2.5, 5.5, False)
    assert scene.intrinsics == (4.0, 4.0, 4.5, 3.5)
    assert {(float(rays.near.min()), float(rays.far.max())) for rays in seen} == {(2.5, 5.5)}
    assert views.path_cameras("auto", 1).intrinsics[0].tolist() == list(scene.intrinsics)

    trained = continued.trained.replace(field=continued.field.eval(), sampler=continued.sampler.eval())
    file = encode_artifact(trained, uniform_allocation(trained, -40))
    decoded = of_kind(decode_artifact(file, trust=True), RadianceFieldArtifact, "This shows")
    rays = image_rays(scene.camera, 0, scene.near, scene.far)
    assert torch.equal(decoded.field.aabb, continued.field.aabb)
    assert (decoded.render(rays).rgb - trained.render(rays).rgb).abs().max() < 0.02


def test_cameras_of_another_scene_are_refused(start: Path, tmp_path: Path) -> None:
    with pytest.raises(SceneError, match="look into the box of the field"):
        quiet_fit(module(start), data(start, radius=40.0), tmp_path, 1)


def test_a_resumed_run_needs_no_init_from(start: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copy(start, tmp_path / "moved.ckpt"))
    straight, resumed = module(start), module(moved)
    quiet_fit(straight, data(start), tmp_path, 5)
    quiet_fit(module(moved), data(start), tmp_path, 2).save_checkpoint(tmp_path / "first.ckpt")
    moved.unlink()
    quiet_fit(resumed, data(start), tmp_path, 5, tmp_path / "first.ckpt")
    assert resumed.trained.scene == straight.trained.scene and resumed.trained.scene.aabb == BOX
    assert all(torch.equal(value, resumed.state_dict()[name]) for name, value in straight.state_dict().items())


def test_a_checkpoint_is_tested_as_it_was_trained(start: Path, tmp_path: Path) -> None:
    tested = module(None)
    views = data(start)
    trainer = quiet_fit(module(start), data(start), tmp_path, 1)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    trainer.test(tested, datamodule=views, ckpt_path=tmp_path / "a.ckpt", verbose=False, weights_only=True)
    scene = views.split("test")
    assert (scene.near, scene.far, scene.pixel_centers) == (2.5, 5.5, False)
    assert tested.trained.scene.aabb == BOX and torch.equal(tested.field.aabb, torch.tensor(BOX))


class Nested(ProceduralReader):
    """A scene of three nested cubes."""

    def __init__(self) -> None:
        super().__init__(image_size=12, n_train=3, n_val=1, n_test=1, supersampling=1)

    def read(self, split: Split) -> Scene:
        return super().read(split)._replace(cascades=3, has_alpha=False)


def nested(told: bool = False, init_from: Path | None = None) -> RadianceFieldModule:
    field = NGPField(levels=2, log2_table_size=9, hidden_width=16, cascades=1 if told else None)
    sampler = OccupancySampler(resolution=8, n_steps=32, cascades=1 if told else None)
    return RadianceFieldModule(field, sampler, init_from=None if init_from is None else str(init_from))


def test_field_and_sampler_take_the_nested_cubes_of_the_scene(tmp_path: Path) -> None:
    first = nested()
    quiet_fit(first, RayDataModule(Nested(), batch_size=64), tmp_path, 2).save_checkpoint(tmp_path / "first.ckpt")
    known = of_kind(read_checkpoint(tmp_path / "first.ckpt"), RadianceFieldArtifact, "test")
    assert known.field.arguments["cascades"] == 3 and known.field.arguments["finest_resolution"] == 4096
    assert known.sampler.occupied.shape == (3, 8, 8, 8) and known.sampler.arguments["cone_angle"] == 1 / 256
    resumed, next_stage = nested(), nested(init_from=tmp_path / "first.ckpt")
    quiet_fit(resumed, RayDataModule(Nested(), batch_size=64), tmp_path, 3, tmp_path / "first.ckpt")
    single = ProceduralReader(image_size=12, n_train=3, n_val=1, n_test=1, supersampling=1)
    quiet_fit(next_stage, RayDataModule(single, batch_size=64), tmp_path, 1)
    for module in (resumed, next_stage):
        assert module.field.arguments == known.field.arguments and module.sampler.arguments == known.sampler.arguments


def test_what_was_told_wins_over_the_scene(tmp_path: Path) -> None:
    told = nested(told=True)
    quiet_fit(told, RayDataModule(Nested(), batch_size=64), tmp_path, 1)
    assert told.field.arguments["cascades"] == 1 and told.field.arguments["finest_resolution"] == 1024
    assert told.sampler.occupied.shape == (1, 8, 8, 8) and told.sampler.arguments["cone_angle"] == 0.0


def test_the_sampler_of_training_a_nerf_takes_them_too(tmp_path: Path) -> None:
    field = NeRFField(depth=2, width=8, skips=[0], position_frequencies=2, direction_frequencies=1)
    places = OccupancySampler(resolution=8, n_steps=16)
    module = VanillaNeRFModule(field, HierarchicalSampler(4, 4, resolution=8), places, init_from=None)
    quiet_fit(module, RayDataModule(Nested(), batch_size=64), tmp_path, 2)
    assert places.occupied.shape == (3, 8, 8, 8) and module.memory is not None and module.memory.cascades == 3
