import math
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, LightningModule, Trainer
from torch import nn

from nerfcomp.callbacks import BitstreamExport, RunCheckpoint, StepCheckpoint
from nerfcomp.errors import DivergedError
from nerfcomp.fields import RadianceField
from nerfcomp.modules import RadianceFieldModule, VanillaNeRFModule
from nerfcomp.modules.divergence import DivergenceWatch, broken_weights
from nerfcomp.optim import GridAdam
from nerfcomp.rendering import OccupancySampler
from tests.modules.tiny_fields import data, tiny_ngp, tiny_pair


class Break(Callback):
    """Sets one weight to a value before a step."""

    def __init__(self, step: int, weight: str, value: float) -> None:
        self.step, self.weight, self.value = step, weight, value

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if trainer.global_step == self.step:
            with torch.no_grad():
                pl_module.get_parameter(self.weight).view(-1)[0] = self.value


def fit(module: LightningModule, folder: Path, *callbacks: Callback, steps: int = 60) -> Trainer:
    module.hparams.clear()
    trainer = Trainer(
        max_steps=steps,
        accelerator="cpu",
        default_root_dir=folder,
        logger=False,
        callbacks=list(callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        limit_val_batches=0,
    )
    trainer.fit(module, datamodule=data())
    return trainer


def ngp_module(lr: float = 1e-3) -> RadianceFieldModule:
    field, sampler = tiny_ngp()
    return RadianceFieldModule(field, sampler, lambda params: GridAdam(params, lr=lr))


def last_step(folder: Path) -> int:
    """Step of the last checkpoint, all of whose weights are finite."""
    content = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert all(value.isfinite().all() for key, value in content["state_dict"].items() if key.startswith("field."))
    return int(content["global_step"])


def test_a_run_with_an_absurd_rate_ends_with_a_sentence_and_keeps_a_finite_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match=r"Training has diverged: .* step \d+.*lower learning rate") as caught:
        fit(ngp_module(lr=1e30), tmp_path, RunCheckpoint(every_n_train_steps=1))
    assert str(tmp_path / "checkpoints" / "last.ckpt") in str(caught.value)
    assert last_step(tmp_path) == 1  # written before the first step with such weights


@pytest.mark.slow
def test_density_that_is_no_number_ends_a_run_whose_losses_stay_finite(tmp_path: Path) -> None:
    """The grid empties, and pictures of nothing have a finite loss."""
    module, losses = ngp_module(), []

    class Losses(Callback):
        def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: torch.Tensor) -> None:
            losses.append(float(loss.detach()))

    breaks = Break(20, "field.density_mlp.layers.1.weight", math.nan)
    with pytest.raises(DivergedError, match="the densities stopped being finite at step 20"):
        fit(module, tmp_path, RunCheckpoint(every_n_train_steps=7), breaks, Losses())
    assert last_step(tmp_path) == 14
    assert all(math.isfinite(loss) for loss in losses)


@pytest.mark.parametrize("with_grid", [False, True])
def test_vanilla_nerf_stops_too(tmp_path: Path, with_grid: bool) -> None:
    field, sampler = tiny_pair()
    training = OccupancySampler(resolution=8, n_steps=16, warmup_steps=16, update_every=4) if with_grid else None
    module = VanillaNeRFModule(field, sampler, training)  # type: ignore[arg-type]
    with pytest.raises(DivergedError, match="stopped being finite at step 3"):
        fit(
            module,
            tmp_path,
            RunCheckpoint(every_n_train_steps=2),
            Break(3, "field.model_fine.rgb_linear.bias", math.nan),
        )
    assert last_step(tmp_path) == 2


def test_a_broken_last_step_is_found_at_the_end(tmp_path: Path) -> None:
    class BreakLast(Callback):
        def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
            if trainer.global_step == 5:
                with torch.no_grad():
                    pl_module.get_parameter("field.rgb_mlp.layers.0.weight").view(-1)[0] = math.inf

    with pytest.raises(DivergedError, match="field.rgb_mlp.layers.0.weight of its weights are not finite"):
        fit(ngp_module(), tmp_path, RunCheckpoint(every_n_train_steps=3), BreakLast(), steps=5)
    assert last_step(tmp_path) == 3


@pytest.mark.parametrize("callback", [StepCheckpoint(5), BitstreamExport(every_n_steps=5), BitstreamExport()])
def test_no_file_is_written_of_a_field_that_has_diverged(tmp_path: Path, callback: Callback) -> None:
    breaks = Break(4, "field.density_mlp.layers.1.weight", math.nan)
    with pytest.raises(DivergedError, match=r"the densities stopped being finite at step 4 .*last\.ckpt"):
        fit(ngp_module(), tmp_path, breaks, callback, RunCheckpoint(every_n_train_steps=2), steps=5)
    assert last_step(tmp_path) == 4 and not [*tmp_path.glob("*/*.pt"), *tmp_path.glob("*/*.nfc")]


def test_another_error_keeps_its_message_when_the_weights_are_broken(tmp_path: Path) -> None:
    class Crash(Callback):
        def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
            if trainer.global_step == 3:
                raise RuntimeError("out of luck")

    with pytest.raises(RuntimeError, match="out of luck"):
        breaks = Break(3, "field.rgb_mlp.layers.0.weight", math.nan)
        fit(ngp_module(), tmp_path, RunCheckpoint(every_n_train_steps=2), breaks, Crash())
    assert last_step(tmp_path) == 2


def test_without_a_checkpoint_the_sentence_says_so(tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match="No checkpoint was written before"):
        fit(ngp_module(), tmp_path, Break(0, "field.grid.levels.0.weight", math.nan), RunCheckpoint(), steps=2)


def test_watch_keeps_the_first_step_and_what_it_was() -> None:
    watch, yes, no = DivergenceWatch(), torch.tensor(True), torch.tensor(False)
    assert watch.found() is None
    for step, (loss, density) in enumerate([(no, no), (no, yes), (yes, yes), (no, no)]):
        watch.note("loss", loss, step)
        watch.note("densities", density, step)
    assert watch.found() == (1, "the densities stopped being finite at step 1")


def test_infinite_density_is_no_divergence() -> None:
    watch = DivergenceWatch()
    watch.opacities(lambda x: torch.full((len(x),), math.inf), 0)(torch.zeros(2, 3))
    assert watch.found() is None


def test_occupancy_of_unknown_cells_is_not_broken() -> None:
    assert broken_weights(OccupancySampler(resolution=8)) == []
    assert broken_weights(nn.BatchNorm1d(1).requires_grad_(False)) == []


def test_healthy_fields_are_told_from_broken_ones() -> None:
    field: RadianceField = tiny_ngp()[0]
    assert broken_weights(field) == []
    field.get_parameter("rgb_mlp.layers.2.weight").data[0, 0] = math.inf
    assert broken_weights(field) == ["rgb_mlp.layers.2.weight"]
