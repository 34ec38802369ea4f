"""Stages that train for integers: listed in YAML, frozen by a callback, resumed exactly, converted bit for bit."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import train
from nerfcomp.artifacts.checkpoint import read_checkpoint
from nerfcomp.artifacts.coded_tensors import integer_tensors
from nerfcomp.artifacts.integers import calibrated, to_integers
from nerfcomp.artifacts.kinds import of_kind
from nerfcomp.artifacts.nfc import decode_artifact, encode_artifact, uniform_allocation
from nerfcomp.artifacts.radiance_field import RadianceFieldArtifact
from nerfcomp.callbacks import FreezeRanges
from nerfcomp.compression import FakeQuantization, WeightHook, quantizers
from nerfcomp.compression.hooks import stored_weight
from nerfcomp.fields import Field
from nerfcomp.modules import RadianceFieldModule, VanillaNeRFModule
from tests.modules.tiny_fields import data, quiet_fit, save, tiny_ngp, tiny_pair
from tests.modules.volume_config import CONFIG, settings
from tests.student import write_configs

RATE = "{class_path: RateControl, init_args: {target_bytes: 3000, control: 0.5, freeze: 0.8}}"
HOOKS = [{"class_path": "nerfcomp.compression.FakeQuantization", "init_args": {"bits": 6, "ranges": "learned"}}]


def by_hand(field: Field) -> dict[str, torch.Tensor]:
    """Integers of trained weights, from the formula: clip(round(w / s))."""
    found = {}
    for name, quantizer in quantizers(field).items():
        weight = stored_weight(field.get_submodule(name.rpartition(".")[0])).detach()
        found[name] = torch.clamp(torch.round(weight / quantizer.log_scale.detach().exp()), -31, 31)
    return found


def assert_integers_survive(trained: Any) -> None:
    expected, integers = by_hand(trained.field), to_integers(trained).for_coding()
    container = encode_artifact(integers, uniform_allocation(integers, -40))
    decoded = integer_tensors(decode_artifact(container, trust=True).field)
    assert expected and all(torch.equal(decoded[name].float(), levels) for name, levels in expected.items())


@pytest.mark.slow
def test_a_volume_network_in_yaml(tmp_path: Path) -> None:
    text = CONFIG % settings(tmp_path, steps=6)
    (tmp_path / "config.yaml").write_text(text.replace(RATE, "{class_path: FreezeRanges, init_args: {after: 3}}"))
    options = ["--config", str(tmp_path / "config.yaml"), f"--model.init_args.hooks={json.dumps(HOOKS)}"]
    model: Any = train.main(["fit", *options]).model
    assert len(quantizers(model.field)) == 3
    assert_integers_survive(model.trained)


@pytest.mark.slow
@pytest.mark.parametrize("ranges", ["learned", "percentile"])
def test_a_student_in_yaml(ranges: str, tmp_path: Path) -> None:
    predict, student = write_configs(tmp_path)
    train.main(["predict", "--config", str(predict)])
    hook = {"class_path": "nerfcomp.compression.FakeQuantization", "init_args": {"bits": 6, "ranges": ranges}}
    options = [f"--model.init_args.hooks={json.dumps([hook])}", "--trainer.logger=false"]
    options += ["--trainer.callbacks=[{class_path: FreezeRanges, init_args: {after: 3}}]"]
    model: Any = train.main(["fit", "--config", str(student), *options, "--trainer.enable_checkpointing=false"]).model
    found = quantizers(model.field).values()
    assert len(found) > 5 and all(grid.seen > 0 and not grid.observing for one in found for grid in one.grids)
    learner = quantizers(model.student)  # learns with the very ranges of what is kept
    assert all(one.grids[0].grid() == learner[name].grids[0].grid() for name, one in quantizers(model.field).items())
    assert_integers_survive(model.trained)


def ngp(start: Path) -> RadianceFieldModule:
    return RadianceFieldModule(*tiny_ngp(), init_from=str(start), hooks=[FakeQuantization(bits=6)])


def nerf(start: Path) -> RadianceFieldModule:
    hooks: list[WeightHook] = [FakeQuantization(bits=6, ranges="learned")]
    return VanillaNeRFModule(*tiny_pair(), init_from=str(start), hooks=hooks)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ngp", "nerf"])
def test_ranges_freeze_and_a_resumed_run_ends_the_same(kind: str, tmp_path: Path) -> None:
    make, fields = (ngp, tiny_ngp) if kind == "ngp" else (nerf, tiny_pair)
    start = save(*fields(), tmp_path / "start.ckpt")

    def fit(module: RadianceFieldModule, steps: int, name: str, resumed: Path | None = None) -> Path:
        trainer = quiet_fit(module, data(), tmp_path, steps, resumed, [FreezeRanges(3)])
        trainer.save_checkpoint(tmp_path / name)
        return tmp_path / name

    first = fit(make(start), 4, "first.ckpt")
    straight = fit(make(start), 6, "straight.ckpt")
    start.unlink()  # a resumed run has no need of it
    resumed = fit(make(start), 6, "resumed.ckpt", first)
    states = [read_checkpoint(path).field.state_dict() for path in (first, straight, resumed)]
    assert states[1].keys() == states[2].keys()
    assert all(torch.equal(value, states[2][name]) for name, value in states[1].items())
    ranges = [name for name in states[0] if name.rpartition(".")[2] in ("low", "high", "gain")]
    assert ranges and all(torch.equal(states[0][name], states[1][name]) for name in ranges)
    assert any(not torch.equal(states[0][name], states[1][name]) for name in states[0] if name.endswith("original"))
    assert_integers_survive(read_checkpoint(straight))


@pytest.mark.slow
def test_rounding_begins_at_a_step_and_until_then_training_is_that_in_float32(tmp_path: Path) -> None:
    start = save(*tiny_ngp(), tmp_path / "start.ckpt")

    def fit(steps: int, hooked: bool, callback: FreezeRanges) -> dict[str, torch.Tensor]:
        hooks: list[WeightHook] = [FakeQuantization(bits=4)] if hooked else []
        module = RadianceFieldModule(*tiny_ngp(), init_from=str(start), hooks=hooks)
        quiet_fit(module, data(), tmp_path, steps, callbacks=[callback])
        state = module.field.state_dict()
        return {name.replace("parametrizations.weight.original", "weight"): value for name, value in state.items()}

    plain, waiting = fit(3, False, FreezeRanges(9)), fit(3, True, FreezeRanges(9, begin=3))
    assert all(torch.equal(value, waiting[name]) for name, value in plain.items())
    begun = fit(5, True, FreezeRanges(4, begin=3))
    seen = [float(value) for name, value in begun.items() if name.endswith(".seen")]
    assert seen and min(seen) >= 1
    assert any(not torch.equal(value, begun[name]) for name, value in fit(5, False, FreezeRanges(9)).items())


@pytest.mark.parametrize(("after", "begin"), [(0, 0), (3, 3), (3, -1)])
def test_ranges_are_frozen_after_a_step_at_least(after: int, begin: int) -> None:
    with pytest.raises(ValueError, match="at least 1 step"):
        FreezeRanges(after, begin)
    with pytest.raises(ValueError, match="batches"):
        FreezeRanges(after + 4, 0, batches=0)


@pytest.mark.slow
def test_training_that_learns_nothing_ends_as_calibration_does(tmp_path: Path) -> None:
    pair = of_kind(read_checkpoint(save(*tiny_pair(), tmp_path / "start.ckpt")), RadianceFieldArtifact, "")
    hook = FakeQuantization(bits=6)
    alone = calibrated(pair, [hook], 2)
    expected = [grid.grid() for one in quantizers(alone.field).values() for grid in one.grids]
    module = VanillaNeRFModule(
        *tiny_pair(),  # type: ignore[arg-type]
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=1e-30),  # weights stay as they are
        init_from=str(tmp_path / "start.ckpt"),
        hooks=[hook],
    )
    quiet_fit(module, data(), tmp_path, 3, callbacks=[FreezeRanges(2, batches=2)])
    found = [grid.grid() for one in quantizers(module.field).values() for grid in one.grids]
    assert found == expected and len({scale for scale, _ in found}) > 5  # those of pictures
    trained, integers = (to_integers(one).field.state_dict() for one in (module.trained, alone))
    assert all(torch.equal(value, trained[name]) for name, value in integers.items())
