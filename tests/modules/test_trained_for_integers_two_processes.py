"""Two real processes train for integers as one: the same weights, steps and frozen ranges, near those of one."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.modules.tiny_fields import save, tiny_ngp
from tests.ranks import dumped

pytestmark = pytest.mark.slow

CONFIG = """
trainer:
  max_steps: 12
  accelerator: cpu
  devices: %(devices)d
  strategy: %(strategy)s
  logger: false
  enable_checkpointing: false
  enable_progress_bar: false
  num_sanity_val_steps: 0
  limit_val_batches: 0
  callbacks:
    - {class_path: FreezeRanges, init_args: {after: 6}}
    - {class_path: tests.modules.rank_dump.RankDump, init_args: {folder: %(folder)s}}
model:
  class_path: RadianceFieldModule
  init_args:
    field: {class_path: NGPField, init_args: %(field)s}
    sampler: {class_path: OccupancySampler, init_args: %(sampler)s}
    init_from: %(start)s
    hooks: [{class_path: nerfcomp.compression.FakeQuantization, init_args: {bits: 6, ranges: learned}}]
    optimizer: {class_path: torch.optim.Adam, init_args: {lr: 1.0e-3}}
data:
  class_path: RayDataModule
  init_args:
    reader: {class_path: ProceduralReader, init_args: {image_size: 16, n_train: 3, n_val: 1, n_test: 1}}
    batch_size: %(batch)d
    steps_per_epoch: 12
"""
ENDS = ("low", "high", "gain")


def fit(folder: Path, devices: int, batch: int) -> list[dict[str, Any]]:
    """Train in ``devices`` processes from an NGP; what each of them saw."""
    folder.mkdir()
    field, sampler = tiny_ngp()
    start = save(field, sampler, folder / "ngp.ckpt")
    values = {"devices": devices, "strategy": "ddp" if devices > 1 else "auto", "folder": folder, "batch": batch}
    given = {"field": field.arguments, "sampler": sampler.arguments, "start": start}
    config = folder / "config.yaml"
    config.write_text(CONFIG % (values | given))
    return dumped(["fit", "--config", config], folder, devices)


def test_two_processes_train_for_integers_as_one(tmp_path: Path) -> None:
    first, second = fit(tmp_path / "two", 2, 64)
    (alone,) = fit(tmp_path / "one", 1, 128)
    assert first["step"] == second["step"] == alone["step"] == 12
    assert all(a != b for a, b in zip(first["losses"], second["losses"]))  # they saw different rays
    assert first["state"].keys() == second["state"].keys() == alone["state"].keys()
    assert all(torch.equal(value, second["state"][name]) for name, value in first["state"].items())
    assert any(name.endswith("log_scale") for name in first["state"])
    together = [(a + b) / 2 for a, b in zip(first["losses"], second["losses"])]
    assert together == pytest.approx(alone["losses"], rel=0.05)
    ranges = [name for name in first["state"] if name.rpartition(".")[2] in ENDS]
    assert len(ranges) >= 3 * 5
    for name in ranges:  # one of them sees half of the rays
        assert torch.allclose(first["state"][name], alone["state"][name], rtol=0.2, atol=0.05), name
