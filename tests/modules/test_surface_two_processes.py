"""Two real processes train a surface as one."""

import math
from pathlib import Path

import pytest
import torch

from tests.ranks import dumped

pytestmark = pytest.mark.slow

CONFIG = """
seed_everything: 3
trainer:
  max_steps: 12
  accelerator: cpu
  devices: 2
  strategy: ddp
  logger: false
  enable_checkpointing: false
  enable_progress_bar: false
  num_sanity_val_steps: 0
  limit_val_batches: 0
  callbacks: [{class_path: tests.modules.rank_dump.RankDump, init_args: {folder: %(folder)s}}]
model:
  class_path: SurfaceModule
  init_args:
    field:
      class_path: HashSurfaceField
      init_args: {levels: 3, log2_table_size: 9, finest_resolution: 32, hidden_width: 16}
    sampler: {class_path: OccupancySampler, init_args: {resolution: 16, n_steps: 48, update_every: 4, warmup_steps: 8}}
    optimizer: {class_path: GridAdam, init_args: {lr: 1.0e-2}}
    start_levels: 1
    level_steps: 4
    sharpen_steps: 8
    hull_steps: 5
    uniform_points: 32
    curvature_weight: 1.0e-4
    max_samples: 400
data:
  class_path: RayDataModule
  init_args:
    reader: {class_path: ProceduralReader, init_args: {image_size: 16, n_train: 3, n_val: 1, n_test: 1}}
    batch_size: 64
    steps_per_epoch: 10
"""


def test_both_hold_the_same_surface_and_losses_are_finite(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG % {"folder": tmp_path})
    ranks = dumped(["fit", "--config", tmp_path / "config.yaml"], tmp_path, 2)
    first, second = ranks[0]["state"], ranks[1]["state"]
    assert first.keys() == second.keys() and "field.sharpness" in first
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert all(math.isfinite(loss) for rank in ranks for loss in rank["losses"]) and len(ranks[0]["losses"]) == 12
    assert all(a != b for a, b in zip(ranks[0]["losses"], ranks[1]["losses"]))
