"""Two real processes distil as one: equal students on both, the losses of one process with their batches joined."""

from pathlib import Path
from typing import Any

import pytest
import torch

import train
from tests.ranks import dumped
from tests.student import write_configs

pytestmark = pytest.mark.slow

CALLBACKS = "[%s{class_path: tests.modules.rank_dump.RankDump, init_args: {folder: %s}}]"
PRUNING = "{class_path: PruningRounds, init_args: {rounds: 3, amount: 0.4, views: 1}}, "


def distil(
    config: Path, folder: Path, devices: int, batch: int, callbacks: str = "", *more: str
) -> list[dict[str, Any]]:
    """Train in ``devices`` processes; what each of them saw."""
    folder.mkdir()
    options = [f"--trainer.devices={devices}", f"--trainer.strategy={'ddp' if devices > 1 else 'auto'}"]
    options += ["--trainer.max_steps=12", "--trainer.logger=false", "--trainer.enable_checkpointing=false"]
    options += [f"--trainer.callbacks={CALLBACKS % (callbacks, folder)}", f"--data.init_args.batch_size={batch}", *more]
    return dumped(["fit", "--config", config, *options], folder, devices)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    predict, student = write_configs(tmp_path_factory.mktemp("distil"))
    train.main(["predict", "--config", str(predict)])
    return student


def test_two_processes_distil_as_one(config: Path, tmp_path: Path) -> None:
    first, second = distil(config, tmp_path / "two", 2, 1)
    (alone,) = distil(config, tmp_path / "one", 1, 2)
    assert first["step"] == second["step"] == alone["step"] == 12
    assert first["state"].keys() == second["state"].keys()
    for name, value in first["state"].items():
        assert torch.allclose(value, second["state"][name], atol=1e-6), name
    together = [(a + b) / 2 for a, b in zip(first["losses"], second["losses"], strict=True)]
    assert all(0 < loss < 1 for loss in together)
    assert all(a != b for a, b in zip(first["losses"], second["losses"]))  # they saw different views
    assert together == pytest.approx(alone["losses"], rel=2e-3)


def test_two_processes_prune_as_one(config: Path, tmp_path: Path) -> None:
    hooks = "--model.init_args.hooks=[nerfcomp.compression.LocalScaling]"
    first, second = distil(config, tmp_path / "two", 2, 1, PRUNING, hooks)
    (alone,) = distil(config, tmp_path / "one", 1, 2, PRUNING, hooks)
    assert first["state"].keys() == second["state"].keys() == alone["state"].keys()
    masks = [name for name in first["state"] if name.endswith(".keep")]
    assert len(masks) == 2 * 10 and sum(int((~first["state"][name]).sum()) for name in masks) > 1000
    for name, value in first["state"].items():
        assert torch.allclose(value.float(), second["state"][name].float(), atol=1e-6), name
    differ = sum(int((first["state"][name] ^ alone["state"][name]).sum()) for name in masks)
    assert differ <= 4  # magnitudes that are equal to a few digits may change places
    scales = [name for name in first["state"] if name.endswith(".scale")]
    assert len(scales) == 2 * 8 and all(bool((first["state"][name] != 1).any()) for name in scales)
