"""Two real processes tune as one: planned once, equal on both, and the losses of one with the same batch."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.modules.tiny_fields import save, tiny_ngp
from tests.ranks import dumped

pytestmark = pytest.mark.slow

CONFIG = """
trainer:
  max_steps: 20
  accelerator: cpu
  devices: %(devices)d
  strategy: %(strategy)s
  logger: false
  enable_checkpointing: false
  enable_progress_bar: false
  num_sanity_val_steps: 0
  limit_val_batches: 1
  callbacks: [{class_path: tests.modules.rank_dump.RankDump, init_args: {folder: %(folder)s}}]
model:
  class_path: LSAModule
  init_args:
    init_from: %(start)s
    qp: -12
    optimizer: {class_path: torch.optim.Adam, init_args: {lr: 1.0e-3}}
    scheduler: {class_path: StepDecay, init_args: {every: 10, factor: 0.5}}
data:
  class_path: RayDataModule
  init_args:
    reader: {class_path: ProceduralReader, init_args: {image_size: 16, n_train: 3, n_val: 1, n_test: 1}}
    batch_size: %(batch)d
    steps_per_epoch: 10
"""


def tune(folder: Path, start: Path, devices: int, batch: int) -> list[dict[str, Any]]:
    """Tune in ``devices`` processes; what each of them saw."""
    folder.mkdir()
    strategy = "ddp" if devices > 1 else "auto"
    config = folder / "config.yaml"
    values = {"devices": devices, "strategy": strategy, "folder": folder, "batch": batch, "start": start}
    config.write_text(CONFIG % values)
    return dumped(["fit", "--config", config], folder, devices)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(*tiny_ngp(), tmp_path_factory.mktemp("start") / "ngp.ckpt")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, start: Path) -> list[dict[str, Any]]:
    return tune(tmp_path_factory.mktemp("ddp") / "two", start, 2, 64)


def test_ranks_hold_the_same_quantized_and_tuned_field(pair: list[dict[str, Any]]) -> None:
    first, second = pair[0]["state"], pair[1]["state"]
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)
    scales = [value for key, value in first.items() if key.endswith("0.scale")]
    assert len(scales) == 5 and all((scale != 1).any() for scale in scales)


def test_ranks_see_different_rays(pair: list[dict[str, Any]]) -> None:
    assert all(a != b for a, b in zip(pair[0]["losses"], pair[1]["losses"]))


def test_two_processes_lose_what_one_loses(pair: list[dict[str, Any]], start: Path, tmp_path: Path) -> None:
    (alone,) = tune(tmp_path / "one", start, 1, 128)
    together = [(a + b) / 2 for a, b in zip(pair[0]["losses"], pair[1]["losses"])]
    assert alone["step"] == pair[0]["step"] == 20
    assert together == pytest.approx(alone["losses"], rel=2e-3)
    for key, value in alone["state"].items():
        if key.endswith("0.scale"):
            assert (value - pair[0]["state"][key]).abs().max() < 1e-3, key
