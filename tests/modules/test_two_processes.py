"""Two real processes train as one: equal weights and occupancy on both, and those of one with the rays of both."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.ranks import dumped

pytestmark = pytest.mark.slow

CONFIG = """
seed_everything: 3
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
  class_path: %(module)s
  init_args:
    %(counts)s
    field: {class_path: NGPField, init_args: {levels: 3, log2_table_size: 9, finest_resolution: 32, hidden_width: 16}}
    sampler: {class_path: OccupancySampler, init_args: {resolution: 16, n_steps: 32, update_every: 4, warmup_steps: 8}}
    optimizer: {class_path: torch.optim.SGD, init_args: {lr: 1.0}}
    %(hooks)s
    max_samples: 300
data:
  class_path: RayDataModule
  init_args:
    reader: {class_path: ProceduralReader, init_args: {image_size: 16, n_train: 3, n_val: 1, n_test: 1}}
    batch_size: %(batch)d
    steps_per_epoch: 10
"""


def train(folder: Path, devices: int, batch: int, counts: Path | None = None, hooks: str = "") -> list[dict[str, Any]]:
    """Train in ``devices`` processes, or in one on as many rays as ``counts`` says; what each of them saw."""
    folder.mkdir()
    config = folder / "config.yaml"
    values = {"devices": devices, "strategy": "ddp" if devices > 1 else "auto", "folder": folder, "batch": batch}
    values["module"] = "RadianceFieldModule" if counts is None else "tests.modules.union.UnionModule"
    values["counts"] = "" if counts is None else f"counts: {counts}"
    values["hooks"] = f"hooks: {hooks}" if hooks else ""
    config.write_text(CONFIG % values)
    return dumped(["fit", "--config", config], folder, devices)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return train(tmp_path_factory.mktemp("ddp") / "two", 2, 64)


def test_ranks_hold_the_same_field_and_occupancy(pair: list[dict[str, Any]]) -> None:
    first, second = pair[0]["state"], pair[1]["state"]
    assert first.keys() == second.keys() and "sampler.grid.occupied" in first
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert 0 < first["sampler.grid.occupied"].float().mean() < 1


def test_ranks_see_different_rays_and_numbers_of_them(pair: list[dict[str, Any]]) -> None:
    assert all(a != b for a, b in zip(pair[0]["losses"], pair[1]["losses"]))
    assert max(abs(a - b) / (a + b) for a, b in zip(pair[0]["rays"], pair[1]["rays"])) > 0.1


def test_two_processes_learn_what_one_learns_from_the_rays_of_both(pair: list[dict[str, Any]], tmp_path: Path) -> None:
    """Every ray counts the same, though one process used more of them than the other."""
    counts = tmp_path / "counts.json"
    counts.write_text(json.dumps(list(zip(pair[0]["rays"], pair[1]["rays"]))))
    (alone,) = train(tmp_path / "one", 1, 128, counts)
    together = [(a + b) / 2 for a, b in zip(pair[0]["losses"], pair[1]["losses"])]
    assert alone["step"] == pair[0]["step"] == 20
    assert together == pytest.approx(alone["losses"], rel=1e-4)
    for name, value in alone["state"].items():
        torch.testing.assert_close(pair[0]["state"][name], value, rtol=1e-3, atol=1e-6)


def test_hooked_tables_and_layers_are_the_same_on_both_ranks(tmp_path: Path) -> None:
    hooks = "[{class_path: Masking, init_args: {weights: ['grid.*']}}, nerfcomp.compression.LocalScaling]"
    first, second = (rank["state"] for rank in train(tmp_path / "two", 2, 64, hooks=hooks))
    assert first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)
    assert sum(key.endswith(".keep") for key in first) == 3
    scales = [first[key] for key in first if key.endswith(".scale")]
    assert len(scales) > 2 and any(bool((scale != 1).any()) for scale in scales)
