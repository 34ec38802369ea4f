"""Stages with hooks on their weights: listed in YAML, kept when a run is resumed, begun with the weights of before."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import train
from nerfcomp.artifacts.checkpoint import read_checkpoint, write_checkpoint
from nerfcomp.artifacts.reading import read_scene_artifact
from nerfcomp.compression import (
    LocalScaling,
    Masking,
    baked_copy,
    describe_hooks,
    hold_masks,
    hooked_weights,
    named_masks,
    named_scales,
)
from nerfcomp.modules import LightFieldModule, RadianceFieldModule
from tests.fields.test_light_field import shaken
from tests.modules.tiny_fields import data, quiet_fit, save, tiny_ngp
from tests.student import STUDENT

HOOKS = [
    {"class_path": "Masking", "init_args": {"weights": ["*.weight", "!rgb*"]}},
    {"class_path": "nerfcomp.compression.LocalScaling"},
]
FIELDS: dict[str, dict[str, Any]] = {
    "NGPField": {"levels": 2, "log2_table_size": 6, "finest_resolution": 32, "hidden_width": 16},
    "NeRFField": {"depth": 2, "width": 8, "skips": [0]},
}
STAGES: dict[str, dict[str, Any]] = {
    "RadianceFieldModule": {"field": "NGPField", "sampler": {"class_path": "OccupancySampler"}},
    "VanillaNeRFModule": {"field": "NeRFField", "sampler": {"class_path": "HierarchicalSampler"}},
    "LSAModule": {"init_from": None},
}


@pytest.mark.slow
@pytest.mark.parametrize("stage", [*STAGES, "LightFieldModule"])
def test_hooks_are_listed_in_yaml(stage: str, tmp_path: Path) -> None:
    (tmp_path / "student.yaml").write_text(STUDENT % {"folder": tmp_path})
    arguments: dict[str, Any] = dict(STAGES.get(stage, {}))
    if "field" in arguments:
        arguments["field"] = {"class_path": arguments["field"], "init_args": FIELDS[arguments["field"]]}
    model = json.dumps({"class_path": stage, "init_args": {**arguments, "hooks": HOOKS}})
    if stage == "LightFieldModule":
        options = ["--config", str(tmp_path / "student.yaml"), f"--model.init_args.hooks={json.dumps(HOOKS)}"]
    else:
        reader = {"class_path": "ProceduralReader", "init_args": {"image_size": 8}}
        options = [f"--model={model}", "--data=RayDataModule", f"--data.reader={json.dumps(reader)}"]
    hooks = train.main([*options, "--trainer.logger=false"], run=False).model.hooks
    assert [type(hook) for hook in hooks] == [Masking, LocalScaling]
    assert hooks[0].weights == ["*.weight", "!rgb*"]


def halved(folder: Path) -> Path:
    """A field half of whose weights are zero."""
    trained = read_checkpoint(save(*tiny_ngp(), folder / "ngp.ckpt"))
    with torch.no_grad():
        for weight in trained.field.parameters():
            weight[torch.rand_like(weight) > 0.5] = 0.0
    write_checkpoint(trained, folder / "halved.ckpt")
    return folder / "halved.ckpt"


def stage(start: Path | None = None) -> RadianceFieldModule:
    hooks = [Masking(["*.weight", "!grid.levels.0.*"]), LocalScaling()]
    return RadianceFieldModule(*tiny_ngp(), init_from=None if start is None else str(start), hooks=hooks)


@pytest.mark.slow
def test_zeros_of_the_start_stay_and_a_resumed_run_ends_the_same(tmp_path: Path) -> None:
    start = halved(tmp_path)
    straight, first, resumed = stage(start), stage(start), stage(start)
    quiet_fit(straight, data(), tmp_path, 6).save_checkpoint(tmp_path / "straight.ckpt")
    quiet_fit(first, data(), tmp_path, 3).save_checkpoint(tmp_path / "first.ckpt")
    quiet_fit(resumed, data(), tmp_path, 6, tmp_path / "first.ckpt")
    for name, value in straight.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name
    before, after = read_checkpoint(start).field, baked_copy(straight.field)
    assert len(named_masks(straight.field)) == 7 and len(named_scales(straight.field)) == 5
    for name, value in before.named_parameters():
        zero = value == 0
        assert bool((after.get_parameter(name)[zero] == 0).all()) == (name != "grid.levels.0.weight"), name
        assert not torch.equal(after.get_parameter(name), value)
    known = read_scene_artifact(tmp_path / "straight.ckpt")
    assert describe_hooks(known.field) == describe_hooks(straight.field)
    assert torch.equal(known.draw(known.scene.camera).rgb, straight.trained.draw(known.scene.camera).rgb)


@pytest.mark.slow
def test_a_resumed_run_takes_the_hooks_of_its_checkpoint(tmp_path: Path) -> None:
    first, plain = stage(), RadianceFieldModule(*tiny_ngp())
    quiet_fit(first, data(), tmp_path, 2).save_checkpoint(tmp_path / "hooked.ckpt")
    quiet_fit(plain, data(), tmp_path, 3, tmp_path / "hooked.ckpt")
    assert describe_hooks(plain.field) == describe_hooks(first.field) != []


def test_the_average_of_a_hooked_student_is_hooked_alike() -> None:
    module = LightFieldModule(shaken(), hooks=[LocalScaling(), Masking(["rgb.weight"])])
    student, average = module.student, module.field
    assert student is not None and average is not None
    for _ in range(2):
        module.attach_hooks(student, average)
    assert describe_hooks(student) == describe_hooks(average) and len(hooked_weights(student)["rgb.weight"]) == 2
    for network in (student, average):
        hold_masks(network, {"rgb.weight": torch.zeros_like(named_masks(student)["rgb.weight"])})
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(1.0)
    before = baked_copy(average).get_parameter("head.weight")
    module._follow(10)
    after = baked_copy(average)
    assert not torch.equal(after.get_parameter("head.weight"), before)
    assert int(after.get_parameter("rgb.weight").count_nonzero()) == 0
