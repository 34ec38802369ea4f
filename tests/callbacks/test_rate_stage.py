"""Training for few bits: steps of the decoder, zeros, files that hold what was trained, targets, resuming, NeRFs."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

import train
from nerfcomp.artifacts.nfc import decode_artifact, read_nfc
from nerfcomp.artifacts.radiance_field import RadianceFieldArtifact
from nerfcomp.artifacts.reading import read_artifact
from nerfcomp.callbacks import BitstreamExport, RateStage
from nerfcomp.codec import step_size, to_bytes
from nerfcomp.compression import RateAware, plain_parameters, rated_weights
from nerfcomp.errors import SettingsError
from nerfcomp.fields import NGPField
from nerfcomp.modules import RadianceFieldModule
from nerfcomp.rate_control.targets import RateTarget, encode_for
from nerfcomp.rendering import OccupancySampler
from tests.modules.tiny_fields import data, quiet_fit, tiny_ngp

STEPS = 48
COST = 1e-5


@pytest.fixture(autouse=True, scope="module")
def few_rays() -> Iterator[None]:
    """Sensitivities from few rays, which take less time than the training."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nerfcomp.artifacts.radiance_field._RAYS", 128)
        patch.setattr("nerfcomp.artifacts.radiance_field._RAYS_OF_DEEP", 32)
        yield


def module(**options: Any) -> RadianceFieldModule:
    """A tiny NGP, which trains for few bits unless told otherwise."""
    return RadianceFieldModule(*tiny_ngp(), **{"hooks": [RateAware()], **options})


class Watch(Callback):
    """Notes what the first tensor computes with in every step."""

    def __init__(self) -> None:
        self.values: list[Tensor] = []
        self.stored: list[Tensor] = []
        self.roundings: list[str] = []

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        field: Any = pl_module.field
        self.values.append(field.grid.tables[1].detach().clone())
        self.stored.append(plain_parameters(field)["grid.levels.1.weight"].detach().clone())
        self.roundings.append(rated_weights(field)["grid.levels.1.weight"].rounding)


def run(folder: Path, stage: RateStage, steps: int = STEPS, **options: Any) -> tuple[RadianceFieldModule, Watch]:
    """Train; what is noted are the steps."""
    made, watch = module(**options), Watch()
    quiet_fit(made, data(), folder, steps, callbacks=[stage, watch])
    return made, watch


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[RadianceFieldModule, Watch]:
    """A run with steps of its first sensitivities."""
    return run(tmp_path_factory.mktemp("run"), RateStage(COST, noise=0.25, freeze=0.75, allocations=1))


def file_size(trained: RadianceFieldModule) -> int:
    return len(to_bytes(encode_for(trained.trained, RateTarget())))


@pytest.mark.slow
def test_weights_are_off_by_half_a_step_of_the_decoder_then_rounded_to_it_then_stand_still(
    finished: tuple[RadianceFieldModule, Watch],
) -> None:
    trained, watch = finished
    assert trained.qps is not None
    step = step_size(trained.qps["grid.levels.1.weight"])
    noisy, rounded, still = (watch.roundings.index(kind) for kind in ("noise", "straight", "decoded"))
    assert (noisy, rounded, still) == (0, STEPS // 4, 3 * STEPS // 4)
    for place in (0, rounded - 1):
        error = (watch.values[place] - watch.stored[place])[watch.values[place] != 0]
        assert 0.4 * step < float(error.abs().max()) <= 0.5 * step * (1 + 1e-5)
    levels = watch.values[rounded] / step
    assert torch.equal(levels, levels.round()) and int(levels.count_nonzero()) > 100
    assert float((watch.values[rounded] - watch.stored[rounded]).abs().max()) <= 0.5 * step * (1 + 1e-5)
    assert torch.equal(watch.values[-1], watch.values[still])


def test_the_file_holds_what_was_trained(finished: tuple[RadianceFieldModule, Watch]) -> None:
    trained, _ = finished
    decoded = plain_parameters(decode_artifact(encode_for(trained.trained, RateTarget()), trust=True).field)
    for name, weight in plain_parameters(trained.field).items():
        assert weight.dim() == 1 or torch.equal(decoded[name], weight), name


@pytest.mark.slow
def test_a_higher_cost_of_bits_makes_a_smaller_file(
    finished: tuple[RadianceFieldModule, Watch], tmp_path: Path
) -> None:
    dearer, _ = run(tmp_path, RateStage(30 * COST, allocations=1))
    assert file_size(dearer) < 0.8 * file_size(finished[0])


@pytest.mark.slow
def test_a_target_is_met_and_the_exported_file_holds_what_was_trained(
    finished: tuple[RadianceFieldModule, Watch], tmp_path: Path
) -> None:
    target = round(0.8 * file_size(finished[0]))
    steered, stage = module(), RateStage(COST, target_bytes=target, allocations=2)
    quiet_fit(steered, data(), tmp_path, STEPS, callbacks=[BitstreamExport(views=1), stage])
    assert 0.8 * target < file_size(steered) <= target
    (exported,) = tmp_path.rglob("*.nfc")
    decoded = plain_parameters(read_nfc(exported, trust=True).field)
    for name, weight in plain_parameters(steered.field).items():
        assert weight.dim() == 1 or torch.equal(decoded[name], weight), name


@pytest.mark.slow
def test_before_the_start_weights_are_trained_as_ever(tmp_path: Path) -> None:
    _, watch = run(tmp_path, RateStage(COST, start=0.5, noise=0.0, allocations=1))
    assert watch.roundings[: STEPS // 2] == ["none"] * (STEPS // 2)
    assert watch.roundings[STEPS // 2 : STEPS // 2 + 8] == ["straight"] * 8
    plain = module(hooks=[])
    stored: list[Tensor] = []

    class Note(Callback):
        def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
            stored.append(plain_parameters(plain.field)["grid.levels.1.weight"].detach().clone())

    quiet_fit(plain, data(), tmp_path, STEPS, callbacks=[Note()])
    assert torch.equal(stored[STEPS // 2], watch.stored[STEPS // 2])


@pytest.mark.slow
def test_entries_that_no_ray_reads_become_zero(tmp_path: Path) -> None:
    torch.manual_seed(0)
    field = NGPField(levels=2, log2_table_size=15, finest_resolution=32, hidden_width=8)
    with torch.no_grad():
        for table in field.grid.parameters():
            table.normal_(0.0, 0.5)
    made, read = RadianceFieldModule(
        field, OccupancySampler(resolution=16, n_steps=16), hooks=[RateAware()]
    ), torch.zeros(0)

    class Reads(Callback):
        def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
            nonlocal read
            grad = plain_parameters(made.field)["grid.levels.1.weight"].grad
            if grad is not None:
                read = (grad != 0) if not len(read) else read | (grad != 0)

    start = plain_parameters(made.field)["grid.levels.1.weight"].detach().clone()
    quiet_fit(made, data(), tmp_path, STEPS, callbacks=[RateStage(1e-9, allocations=1, noise=0.0), Reads()])
    final = plain_parameters(made.field)["grid.levels.1.weight"].detach()
    unread = ~read.bool()
    assert 0 < int(unread.sum()) < unread.numel() and bool((start[unread] != 0).all())
    assert not bool(final[unread].any())
    assert bool(final[~unread].any())


@pytest.mark.slow
def test_a_resumed_run_ends_like_an_undisturbed_one(tmp_path: Path) -> None:
    class Save(Callback):
        def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
            if trainer.global_step == 30:
                trainer.save_checkpoint(tmp_path / "middle.ckpt")

    whole, again = module(), module()
    quiet_fit(whole, data(), tmp_path, STEPS, callbacks=[RateStage(COST, allocations=2), Save()])
    quiet_fit(again, data(), tmp_path, STEPS, ckpt=tmp_path / "middle.ckpt", callbacks=[RateStage(COST, allocations=2)])
    assert again.qps == whole.qps
    for one, other in zip(plain_parameters(whole.field).values(), plain_parameters(again.field).values()):
        assert torch.equal(one, other)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["torch.optim.Adam", "MuonAdam"])
def test_a_nerf_is_trained_for_few_bits_through_yaml(optimizer: str, tmp_path: Path) -> None:
    field = {"class_path": "NeRFField", "init_args": {"depth": 2, "width": 16, "skips": [0]}}
    sampler = {"class_path": "HierarchicalSampler", "init_args": {"n_samples": 8, "n_importance": 8, "resolution": 8}}
    model = {
        "field": field,
        "sampler": sampler,
        "optimizer": {"class_path": optimizer},
        "hooks": ["RateAware"],
    }
    reader = {"class_path": "ProceduralReader", "init_args": {"image_size": 8, "n_train": 2, "n_val": 1, "n_test": 1}}
    stage = {"class_path": "RateStage", "init_args": {"rd_lambda": 0.1, "table": "layers"}}
    trainer = {"max_steps": 20, "callbacks": [stage, "RunCheckpoint"], "accelerator": "cpu", "limit_val_batches": 0}
    options = [f"--model={json.dumps({'class_path': 'VanillaNeRFModule', 'init_args': model})}"]
    options += [
        f"--data={json.dumps({'class_path': 'RayDataModule', 'init_args': {'reader': reader, 'batch_size': 32}})}"
    ]
    options += [f"--trainer={json.dumps({**trainer, 'default_root_dir': str(tmp_path), 'logger': False})}"]
    train.main(["fit", *options])
    (last,) = tmp_path.rglob("last.ckpt")
    found = read_artifact(last)
    assert isinstance(found, RadianceFieldArtifact) and found.rounded and found.qp is not None
    weights = {name: value for name, value in plain_parameters(found.field).items() if value.dim() > 1}
    for name, weight in weights.items():
        levels = weight / step_size(found.qp[name])
        assert torch.equal(levels, levels.round()), name
    assert any(bool(weight.any()) for weight in weights.values())


@pytest.mark.parametrize(
    ("options", "words"), [({"hooks": []}, "list RateAware"), ({"optimizer": torch.optim.RMSprop}, "choose GridAdam")]
)
def test_what_it_cannot_train_gets_a_sentence(options: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=words):
        quiet_fit(module(**options), data(), tmp_path, STEPS, callbacks=[RateStage()])


@pytest.mark.parametrize(
    "options", [{"rd_lambda": 0.0}, {"target_bytes": 0}, {"noise": 1.0}, {"allocations": 0}, {"start": 1.0}]
)
def test_impossible_settings_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="RateStage needs"):
        RateStage(**options)


@pytest.mark.slow
def test_cells_that_nothing_shows_are_dropped_when_tables_freeze_and_counted_out_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    occupied: list[int] = []
    keep = torch.zeros(1, 16, 16, 16, dtype=torch.bool)
    keep[..., :8] = True

    def keep_half(self: RadianceFieldArtifact) -> None:
        occupied.append(int(self.sampler.occupied.sum()))
        self.sampler.allow(keep)

    monkeypatch.setattr(RadianceFieldArtifact, "keep_lit", keep_half)
    made, _ = run(tmp_path, RateStage(COST, allocations=2))
    assert len(occupied) == 3 and min(occupied) > keep.sum()  # twice to count the bytes, and in the end
    assert 0 < int(made.sampler.occupied.sum()) <= keep.sum()
    assert not bool((made.sampler.occupied & ~keep).any())
    run(tmp_path / "all", RateStage(COST, allocations=2, drop_unseen=False))
    assert len(occupied) == 3


@pytest.mark.slow
def test_a_file_that_fits_does_not_grow_by_cells_that_become_occupied_later(
    tmp_path: Path, finished: tuple[RadianceFieldModule, Watch]
) -> None:
    class Fog(Callback):
        """A half is empty when tables stand still, and not known to be empty any more afterwards."""

        def on_train_batch_start(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
            grid = pl_module.sampler.grid
            if trainer.global_step == 28:
                grid.density[0, :8] = 0.0
                grid.occupied[0, :8] = False
            if trainer.global_step == 30:  # the grid is updated in step 32
                self.occupied = grid.occupied.clone()
                grid.density[grid.density >= 0] = torch.inf

    target = round(0.8 * file_size(finished[0]))
    made = module()
    stage = RateStage(COST, target_bytes=target, allocations=2, freeze=0.6, drop_unseen=False)
    fog = Fog()
    quiet_fit(made, data(), tmp_path, STEPS, callbacks=[stage, fog])
    assert file_size(made) <= target
    assert bool(fog.occupied.any()) and not bool((made.sampler.occupied & ~fog.occupied).any())
    assert all(float(matrix.abs().max()) > 0.1 for matrix in made.field.density_mlp.matrices)  # type: ignore
