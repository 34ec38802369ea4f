"""Rays that begin far from their camera at first and nearer step by step."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, Trainer

from nerfcomp.errors import SettingsError
from nerfcomp.geometry.rays import Rays
from nerfcomp.modules import RadianceFieldModule
from tests.modules.tiny_fields import data, quiet_fit, tiny_ngp

pytestmark = pytest.mark.slow


class Noted(RadianceFieldModule):
    """Keeps the rays of every step, before and after."""

    def __init__(self, near_annealing: float, init_from: str | None = None) -> None:
        super().__init__(*tiny_ngp(), near_annealing=near_annealing, init_from=init_from)
        self.seen: list[tuple[Rays, Rays]] = []

    def begun(self, rays: Rays) -> Rays:
        self.seen.append((rays, super().begun(rays)))
        return self.seen[-1][1]


class SaveAt(Callback):
    """Writes a checkpoint after so many steps."""

    def __init__(self, step: int, path: Path) -> None:
        self.step, self.path = step, path

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)


def test_rays_begin_at_near_after_a_share_of_the_run(tmp_path: Path) -> None:
    """RegNeRF's linear schedule, of the distance to the middle of the box, which is the origin here."""
    module = Noted(0.5)
    quiet_fit(module, data(), tmp_path, 8)
    assert len(module.seen) == 8
    for step, (before, after) in enumerate(module.seen):
        distance = before.origins.double().square().sum(1, keepdim=True).sqrt()
        begin = torch.maximum(before.near.double(), 0.75 * distance * max(0.0, 1 - step / 4))
        torch.testing.assert_close(after.near.double(), begin)
        assert torch.equal(before.far, after.far)
    assert bool((module.seen[0][1].near > module.seen[0][0].near).all())
    assert module.seen[4][0] is module.seen[4][1]


def test_a_resumed_run_goes_on_where_rays_began(tmp_path: Path) -> None:
    resumed, straight = Noted(0.9), Noted(0.9)
    quiet_fit(straight, data(), tmp_path, 7, callbacks=[SaveAt(4, tmp_path / "first.ckpt")])
    quiet_fit(resumed, data(), tmp_path, 7, tmp_path / "first.ckpt")
    assert len(resumed.seen) == 3
    assert all(torch.equal(value, resumed.state_dict()[name]) for name, value in straight.state_dict().items())


def test_a_trained_field_keeps_what_stands_near(tmp_path: Path) -> None:
    start = Noted(0.0)
    quiet_fit(start, data(), tmp_path, 2).save_checkpoint(tmp_path / "start.ckpt")
    module = Noted(0.5, str(tmp_path / "start.ckpt"))
    quiet_fit(module, data(), tmp_path, 2)
    assert all(before is after for before, after in module.seen)


def test_a_run_without_an_end_is_refused(tmp_path: Path) -> None:
    trainer = Trainer(max_epochs=-1, accelerator="cpu", default_root_dir=tmp_path, logger=False)
    module = Noted(0.5)
    with pytest.raises(SettingsError, match="max_steps"):
        trainer.fit(module, datamodule=data())
    assert not module.seen


@pytest.mark.parametrize("share", [-0.1, 1.5, math.nan])
def test_what_cannot_be_is_said(share: float) -> None:
    with pytest.raises(ValueError, match="near_annealing"):
        Noted(share)
