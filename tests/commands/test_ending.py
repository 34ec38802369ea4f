"""Sentences for what a user can mend, tracebacks for bugs, statuses for signals."""

import re
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.utilities.exceptions import SIGTERMException

from nerfcomp.codec.quantizers import check_qp
from nerfcomp.commands.ending import sentences
from nerfcomp.commands.training import run_cli
from nerfcomp.datamodules import PseudoDataModule, RayDataModule, VolumeDataModule
from nerfcomp.errors import CheckpointError
from nerfcomp.fields import NGPField
from nerfcomp.files import atomic_write
from nerfcomp.modules import RadianceFieldModule
from nerfcomp.optim import GridAdam
from nerfcomp.readers import BlenderReader
from nerfcomp.rendering import OccupancySampler
from tests.modules.tiny_fields import tiny_ngp
from tests.tiny import TinyModule, TinyReader


def test_what_a_user_can_mend_ends_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    def write() -> None:
        with atomic_write(tmp_path / "file" / "out.nfc"):
            pass

    def own() -> None:
        raise CheckpointError("There is no checkpoint.")

    cases = [
        (own, "Error: There is no checkpoint."),
        (write, "Error: .*file: .*Mend the path"),
        (lambda: atomic_write("a" * 400).__enter__(), "Error: .*long"),
        (lambda: check_qp("weight", 10**9), "Error: qp of"),
        (lambda: RayDataModule(TinyReader(), batch_size=0), "Error: batch_size"),
        (lambda: RayDataModule(TinyReader(), steps_per_epoch=-1), "Error: .*steps_per_epoch"),
        (lambda: torch.optim.Adam([torch.zeros(1)], lr=-1.0), "Error: Invalid learning rate"),
    ]
    for case, sentence in cases:
        with pytest.raises(SystemExit) as ended, sentences():
            case()
        assert re.search(sentence, str(ended.value.code)), ended.value.code


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ("--model.viewdir_noise=-1", "Error: viewdir_noise must lie between 0.0 and 2.0, got -1.0."),
        ("--model.field.levels=0", "Error: levels must lie between 1 and 64, got 0."),
    ],
)
def test_an_argument_out_of_range_ends_in_the_sentence_of_its_class(option: str, sentence: str) -> None:
    with pytest.raises(SystemExit) as ended, sentences():
        run_cli(["--config", "configs/ngp.yaml", "--data.reader", "ProceduralReader", option], run=False)
    assert ended.value.code == sentence


def tiny_module(**options: Any) -> RadianceFieldModule:
    return RadianceFieldModule(*tiny_ngp(), **options)


OPTIONS: dict[str, Callable[[int], object]] = {
    "batch_size": lambda value: RayDataModule(TinyReader(), batch_size=value),
    "steps_per_epoch": lambda value: RayDataModule(TinyReader(), steps_per_epoch=value),
    "val_views": lambda value: RayDataModule(TinyReader(), val_views=value),
    "seed": lambda value: RayDataModule(TinyReader(), seed=value - 1),
    "batch_size of views": lambda value: PseudoDataModule("nowhere", TinyReader(), batch_size=value),
    "seed of views": lambda value: PseudoDataModule("nowhere", TinyReader(), seed=value - 1),
    "seed of a volume": lambda value: VolumeDataModule(Any, seed=value - 1),  # type: ignore[arg-type]
    "seed of all": lambda value: seed_everything(value - 1),
    "levels": lambda value: NGPField(levels=value),
    "n_steps": lambda value: OccupancySampler(n_steps=value),
    "max_samples": lambda value: OccupancySampler(max_samples=value),
    "max_samples of a step": lambda value: tiny_module(max_samples=value),
    "downscale": lambda value: BlenderReader("nowhere", downscale=value),
    "lr": lambda value: tiny_module(optimizer=partial(GridAdam, lr=float(value))).configure_optimizers(),
    "max_steps": lambda value: Trainer(max_steps=value - 2, logger=False),
}


@pytest.mark.parametrize("value", [0, -1])
@pytest.mark.parametrize("option", OPTIONS)
def test_impossible_options_get_a_sentence(option: str, value: int) -> None:
    with pytest.raises(SystemExit) as ended, sentences():
        OPTIONS[option](value)
    assert re.match(r"Error: .*-?\d", str(ended.value.code))


def test_a_bug_keeps_its_traceback() -> None:
    with pytest.raises(ValueError, match="reshape"), sentences():
        np.zeros(3).reshape(2, 2)
    with pytest.raises(TypeError), sentences():
        len(3)  # type: ignore[arg-type]


def test_signals_have_their_status() -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # as a program starts, whatever ran here before
    try:
        for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
            with pytest.raises(SystemExit) as ended, sentences():
                signal.raise_signal(number)  # to this thread: another one may get what is sent to the process
                time.sleep(0)
            assert ended.value.code == status
    finally:
        signal.signal(signal.SIGINT, before)
    with pytest.raises(SystemExit) as ended, sentences():
        raise SIGTERMException
    assert ended.value.code == 143


class _SignalledWhileDying:
    def __init__(self, number: int) -> None:
        self.number = number

    def __del__(self) -> None:
        signal.raise_signal(self.number)


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_is_not_lost_where_python_drops_what_is_raised(number: int, status: int) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(SystemExit) as ended, sentences():
            _SignalledWhileDying(number)
            for _ in range(500):
                time.sleep(0.01)
        assert ended.value.code == status
    finally:
        signal.signal(signal.SIGINT, before)


def test_ctrl_c_that_the_trainer_has_seen_has_its_status(make_interrupted: Trainer) -> None:
    with pytest.raises(SystemExit) as ended, sentences():
        make_interrupted.fit(TinyModule(), datamodule=RayDataModule(TinyReader(), batch_size=8, steps_per_epoch=2))
    assert ended.value.code == 130


@pytest.fixture
def make_interrupted(tmp_path: Path) -> Iterator[Trainer]:
    """A trainer that Ctrl-C reaches while it starts."""

    class Interrupt(Callback):
        def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
            raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    quiet: dict[str, Any] = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar"), False)
    yield Trainer(accelerator="cpu", default_root_dir=tmp_path, callbacks=[Interrupt()], max_steps=2, **quiet)
    signal.signal(signal.SIGINT, before)
