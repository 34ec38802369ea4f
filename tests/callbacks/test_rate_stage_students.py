"""Students trained for few bits: the file holds what was trained, tables of features and layers alike."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, Trainer

from nerfcomp.artifacts.nfc import decode_artifact
from nerfcomp.callbacks import RateStage
from nerfcomp.codec import step_size, to_bytes
from nerfcomp.compression import RateAware, plain_parameters
from nerfcomp.datamodules import ViewDataModule
from nerfcomp.errors import SettingsError
from nerfcomp.modules import LightFieldModule
from nerfcomp.optim import GridAdam, MuonAdam
from nerfcomp.rate_control.targets import RateTarget, encode_for
from tests.fields.test_light_field_grid import with_grid
from tests.modules.tiny_fields import quiet_fit
from tests.tiny import TinyReader

pytestmark = pytest.mark.slow
STEPS = 24


def student(**options: Any) -> LightFieldModule:
    torch.manual_seed(0)
    field = with_grid(tail_blocks=(0, 0), batch_norm=False).train()
    made = {"average": 0.0, "optimizer": partial(GridAdam, lr=1e-2), "hooks": [RateAware()], **options}
    return LightFieldModule(field, **made)


def train(module: LightFieldModule, folder: Path, cost: float, ckpt: Path | None = None, *more: Callback) -> None:
    data: Any = ViewDataModule(TinyReader(size=24), batch_size=2)
    quiet_fit(module, data, folder, STEPS, ckpt, callbacks=[RateStage(cost, allocations=1), *more])


def run(folder: Path, cost: float, **options: Any) -> LightFieldModule:
    module = student(**options)
    train(module, folder, cost)
    return module


class SaveInBetween(Callback):
    """Keeps a checkpoint of step 10."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        if trainer.global_step == 10:
            trainer.save_checkpoint(self.path)


def file_size(module: LightFieldModule) -> int:
    return len(to_bytes(encode_for(module.trained, RateTarget())))


@pytest.mark.parametrize("optimizer", [partial(GridAdam, lr=1e-2), partial(MuonAdam, lr=1e-2, adam_lr=1e-2)])
def test_the_file_holds_what_was_trained_and_dearer_bits_make_it_smaller(optimizer: Any, tmp_path: Path) -> None:
    module = run(tmp_path, 1e-5, optimizer=optimizer)
    decoded = plain_parameters(decode_artifact(encode_for(module.trained, RateTarget()), trust=True).field)
    assert module.qps is not None
    for name, weight in plain_parameters(module.trained.field).items():
        if weight.dim() > 1:
            levels = weight / step_size(module.qps[name])
            assert torch.allclose(levels, levels.round(), atol=1e-3), name
            assert torch.equal(decoded[name], weight), name
    assert file_size(run(tmp_path, 1e-3, optimizer=optimizer)) < 0.9 * file_size(module)


@pytest.mark.parametrize("optimizer", [partial(GridAdam, lr=1e-2), partial(MuonAdam, lr=1e-2, adam_lr=1e-2)])
def test_a_resumed_run_ends_the_same(optimizer: Any, tmp_path: Path) -> None:
    straight, resumed = student(optimizer=optimizer), student(optimizer=optimizer)
    between = tmp_path / "between.ckpt"
    train(straight, tmp_path, 1e-5, None, SaveInBetween(between))
    train(resumed, tmp_path, 1e-5, between)
    expected, found = straight.state_dict(), resumed.state_dict()
    assert expected.keys() == found.keys() and resumed.field is resumed.student
    assert all(torch.equal(value, found[name]) for name, value in expected.items())


def test_an_average_cannot_be_trained_for_few_bits(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="average: 0"):
        run(tmp_path, 1e-5, average=0.9)
