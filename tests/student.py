"""Configurations of tiny students, taught by the tiny teacher."""

from pathlib import Path

from tests.teacher import write_predict_config

STUDENT = """
seed_everything: 3
trainer:
  accelerator: cpu
  max_steps: 6
  num_sanity_val_steps: 0
  check_val_every_n_epoch: 1
  enable_model_summary: false
  logger: {class_path: RunLogger, init_args: {name: student, save_dir: %(folder)s}}
  callbacks:
    - {class_path: RunProgressBar, init_args: {refresh_seconds: 0}}
    - Throughput
    - ImageLogger
    - {class_path: ModelCheckpoint, init_args: {monitor: val/psnr, mode: max, filename: best}}
    - {class_path: RunCheckpoint, init_args: {every_n_train_steps: 4}}
model:
  class_path: LightFieldModule
  init_args:
    field:
      class_path: LightField
      init_args:
        points_per_ray: 2
        octaves: 2
        width: 12
        n_blocks: 1
        factors: [2, 2]
        kernels: [4, 2]
        tail_widths: [8, 6]
        tail_blocks: [1, 1]
    optimizer: {class_path: torch.optim.AdamW, init_args: {lr: 3.0e-3}}
    scheduler: {class_path: WarmupCosine, init_args: {final: 0.1, warmup_steps: 2}}
data:
  class_path: PseudoDataModule
  init_args:
    root: %(folder)s/views
    reader:
      class_path: ProceduralReader
      init_args: {image_size: 16, n_train: 2, n_val: 1, n_test: 2, supersampling: 1}
    batch_size: 2
"""


def write_student_config(folder: Path) -> Path:
    """Configuration of a student that learns from ``folder / "views"``, which `write_predict_config` fills."""
    path = folder / "student.yaml"
    path.write_text(STUDENT % {"folder": folder})
    return path


def write_configs(folder: Path) -> tuple[Path, Path]:
    """Configurations of the teacher's prediction and of the student."""
    return write_predict_config(folder, folder / "views"), write_student_config(folder)
