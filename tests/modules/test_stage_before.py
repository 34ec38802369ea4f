"""Training that goes on from a file knows from its first step on where there is something and where nothing."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, LightningModule, Trainer

from nerfcomp.fields import NeRFField
from nerfcomp.modules import VanillaNeRFModule
from nerfcomp.rendering import HierarchicalSampler, OccupancySampler
from tests.modules.tiny_fields import data, quiet_fit, save

pytestmark = pytest.mark.slow


def thin_pair() -> tuple[NeRFField, HierarchicalSampler]:
    """Networks whose densities have details of a fraction of a cell, and nothing between them."""
    torch.manual_seed(0)
    field = NeRFField(depth=3, width=24, skips=[1], position_frequencies=6, direction_frequencies=2)
    for network in field.networks:
        with torch.no_grad():
            network.alpha_linear.weight.mul_(2000.0)
            network.alpha_linear.bias.fill_(-60.0)
    return field, HierarchicalSampler(12, 12, resolution=8)


def stage(start: Path | None = None, resolution: int = 16) -> VanillaNeRFModule:
    """A stage that moves no weight by much."""
    return VanillaNeRFModule(
        *thin_pair(),
        OccupancySampler(resolution=resolution, n_steps=64, update_every=4, cells_per_update=512),
        lambda parameters: torch.optim.SGD(parameters, lr=1e-6),
        max_samples=512,
        init_from=None if start is None else str(start),
    )


class Kept(Callback):
    """Copies of what a stage knows when its first step begins and when it ends."""

    def __init__(self) -> None:
        self.states: list[dict[str, Any]] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.states.append({key: value.clone() for key, value in pl_module.state_dict().items()})

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        self.on_train_start(trainer, pl_module)


def known(state: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in state.items() if key.startswith(("training_sampler.", "memory."))}


def test_a_stage_goes_on_with_what_the_one_before_knew(tmp_path: Path) -> None:
    before, kept = stage(), Kept()
    quiet_fit(before, data(), tmp_path, 8).save_checkpoint(tmp_path / "before.ckpt")
    quiet_fit(stage(tmp_path / "before.ckpt"), data(), tmp_path, 1, callbacks=[kept])
    expected, found = known(before.state_dict()), known(kept.states[0])
    assert len(expected) == 4 and float(expected["memory.density"].max()) > 0
    assert all(torch.equal(value, found[key]) for key, value in expected.items())


def test_no_surface_of_a_trained_field_is_called_empty(tmp_path: Path) -> None:
    start, kept = save(*thin_pair(), tmp_path / "start.ckpt"), Kept()
    module = stage(start)
    quiet_fit(module, data(), tmp_path, 1, callbacks=[kept])
    assert module.training_sampler is not None
    grid, state = module.training_sampler.grid, known(kept.states[1])
    cells = (grid.density >= 0).flatten().nonzero().squeeze(1).repeat(64)
    points = grid.cell_points(cells, torch.rand(len(cells), 3, generator=torch.Generator().manual_seed(3)))
    with torch.no_grad():
        solid = cells[module.field.density(points) > 30.0]
    assert 0.01 < len(solid) / len(cells) < 0.2
    assert float(state["training_sampler.grid.occupied"].flatten()[solid].float().mean()) > 0.97


def test_a_grid_of_another_size_is_looked_for_in_the_field(tmp_path: Path) -> None:
    quiet_fit(stage(), data(), tmp_path, 2).save_checkpoint(tmp_path / "before.ckpt")
    kept, module = Kept(), stage(tmp_path / "before.ckpt", resolution=8)
    quiet_fit(module, data(), tmp_path, 1, callbacks=[kept])
    density = kept.states[0]["training_sampler.grid.density"]
    assert density.shape[1] == 8 and bool(density.isfinite().all()) and float(density.max()) > 0


def test_a_resumed_run_goes_on_without_the_file_that_it_began_with(tmp_path: Path) -> None:
    start = save(*thin_pair(), tmp_path / "start.ckpt")
    straight, first, resumed = (stage(start) for _ in range(3))
    quiet_fit(straight, data(), tmp_path, 8)
    quiet_fit(first, data(), tmp_path, 3).save_checkpoint(tmp_path / "first.ckpt")
    start.unlink()
    quiet_fit(resumed, data(), tmp_path, 8, tmp_path / "first.ckpt")
    expected, found = straight.state_dict(), resumed.state_dict()
    assert all(torch.equal(value, found[key]) for key, value in expected.items())
