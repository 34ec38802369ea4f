"""A volume trained in small, for tests of one process and of two."""

CONFIG = """
seed_everything: 3
trainer:
  max_steps: %(steps)d
  accelerator: cpu
  devices: %(devices)d
  strategy: %(strategy)s
  logger: false
  enable_checkpointing: %(checkpoints)s
  enable_progress_bar: false
  enable_model_summary: false
  num_sanity_val_steps: 0
  callbacks:
    - {class_path: tests.modules.rank_dump.RankDump, init_args: {folder: %(folder)s}}
    - {class_path: RateControl, init_args: {target_bytes: 3000, control: 0.5, freeze: 0.8}}
    %(more)s
model:
  class_path: VolumeModule
  init_args:
    field:
      class_path: HashVolume
      init_args: {levels: 3, log2_table_size: 9, base_resolution: 4, finest_resolution: 16, hidden_width: 16}
    scheduler: {class_path: WarmupCosine, init_args: {final: 0.02, warmup_steps: 4}}
data:
  class_path: VolumeDataModule
  init_args:
    reader: {class_path: nerfcomp.readers.ProceduralVolume, init_args: {shape: [24, 20, 17], dtype: uint8}}
    batch_size: %(batch)d
    steps_per_epoch: 1000
"""


def settings(folder: object, steps: int = 20, batch: int = 256, devices: int = 1, more: str = "") -> dict[str, object]:
    """What `CONFIG` leaves open."""
    strategy = "ddp" if devices > 1 else "auto"
    checkpoints = "true" if more else "false"
    return {
        "folder": folder,
        "steps": steps,
        "batch": batch,
        "devices": devices,
        "strategy": strategy,
        "more": more,
        "checkpoints": checkpoints,
    }
