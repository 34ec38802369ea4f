"""When one of two processes sees that a run has diverged, both end with the same sentence and keep the checkpoint."""

from pathlib import Path

import pytest
import torch

from tests.ranks import RunError, run

pytestmark = pytest.mark.slow

CONFIG = """
trainer:
  max_steps: 20
  accelerator: cpu
  devices: 2
  strategy: ddp
  logger: false
  default_root_dir: %(folder)s
  enable_progress_bar: false
  num_sanity_val_steps: 0
  limit_val_batches: 0
  callbacks:
    - {class_path: tests.modules.rank_break.RankBreak, init_args: {rank: 1, step: 3}}
    - {class_path: StepCheckpoint, init_args: {every_n_steps: 4}}
    - {class_path: RunCheckpoint, init_args: {every_n_train_steps: 3}}
model:
  class_path: RadianceFieldModule
  init_args:
    field: {class_path: NGPField, init_args: {levels: 3, log2_table_size: 9, finest_resolution: 32, hidden_width: 16}}
    sampler: {class_path: OccupancySampler, init_args: {resolution: 16, n_steps: 32}}
data:
  class_path: RayDataModule
  init_args:
    reader: {class_path: ProceduralReader, init_args: {image_size: 16, n_train: 3, n_val: 1, n_test: 1}}
    batch_size: 64
    steps_per_epoch: 10
"""


def test_both_processes_say_so_and_keep_the_last_good_checkpoint(tmp_path: Path) -> None:
    config, last = tmp_path / "config.yaml", tmp_path / "checkpoints" / "last.ckpt"
    config.write_text(CONFIG % {"folder": tmp_path})
    with pytest.raises(RunError) as said:
        run(["fit", "--config", config], tmp_path, 2)
    sentence = (
        f"diverged: the loss stopped being finite at step 3 (seen at step 4). The last good checkpoint is {last}."
    )
    assert str(said.value).count(f"DivergedError: Training has {sentence}") == 2, said.value
    assert torch.load(last, weights_only=True)["global_step"] == 3
    assert not (tmp_path / "reconstructed").exists()
