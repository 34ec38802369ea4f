"""A scene of 16x16 pixels, a configuration, and a run of six steps."""

from pathlib import Path

import train
from nerfcomp.readers import ProceduralReader
from nerfcomp.readers.blender_writer import write_blender

SMALL = """
trainer:
  max_steps: 6
  accelerator: cpu
  check_val_every_n_epoch: 1
  num_sanity_val_steps: 0
  logger: {class_path: RunLogger, init_args: {name: small, save_dir: %(runs)s}}
  callbacks:
    - RunProgressBar
    - {class_path: Throughput, init_args: {every_n_steps: 2}}
    - ImageLogger
    - {class_path: BitstreamExport, init_args: {views: 1}}
    - RunCheckpoint
model:
  class_path: RadianceFieldModule
  init_args:
    field: {class_path: NGPField, init_args: {levels: 3, log2_table_size: 9, finest_resolution: 32, hidden_width: 16}}
    sampler: {class_path: OccupancySampler, init_args: {resolution: 16, n_steps: 32}}
    optimizer: {class_path: GridAdam, init_args: {lr: 1.0e-2}}
    scheduler: {class_path: torch.optim.lr_scheduler.CosineAnnealingLR, init_args: {eta_min: 3.0e-4}}
    distortion_weight: 1.0e-3
data:
  class_path: RayDataModule
  init_args:
    reader: {class_path: BlenderReader, init_args: {root: %(root)s}}
    batch_size: 256
    steps_per_epoch: 3
"""


class Workspace:
    """A scene, a configuration and the folder of one finished run."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.scene, self.runs, self.config = folder / "scene", folder / "runs", folder / "small.yaml"
        write_blender(ProceduralReader(image_size=16, n_train=4, n_val=2, n_test=2, supersampling=1), self.scene)
        self.config.write_text(SMALL % {"root": self.scene, "runs": self.runs})
        train.main(["fit", "--config", str(self.config), *options])
        self.run = self.runs / "small" / "version_0"
        self.ckpt = self.run / "checkpoints" / "last.ckpt"
        self.reader = ["--reader", "BlenderReader", f"--reader.root={self.scene}"]
