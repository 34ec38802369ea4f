"""A tiny teacher with random weights, and the command line that asks it for pictures."""

from pathlib import Path

import torch

from nerfcomp.artifacts.artifact import SceneArtifact
from nerfcomp.artifacts.checkpoint import write_checkpoint
from nerfcomp.artifacts.radiance_field import RadianceFieldArtifact
from nerfcomp.artifacts.scene_info import SceneInfo
from nerfcomp.fields import NGPField
from nerfcomp.rendering import OccupancySampler
from tests.tiny import TinyReader

PREDICT = """
trainer:
  accelerator: cpu
  logger: false
  callbacks: [{class_path: PseudoDataWriter, init_args: {folder: %(folder)s, views_per_shard: 2}}]
model: TeacherModule
data:
  class_path: PoseDataModule
  init_args: {teacher: %(teacher)s, n_views: 7, poses: SphericalPoses, seed: 5}
"""


def tiny_teacher(size: int = 16) -> SceneArtifact:
    """A field whose pictures vary from pixel to pixel."""
    torch.manual_seed(1)
    field = NGPField(levels=3, log2_table_size=9, finest_resolution=32, hidden_width=16)
    with torch.no_grad():
        for level in field.grid.tables:
            level.normal_(0.0, 3.0)
    sampler = OccupancySampler(resolution=8, n_steps=16)
    scene = TinyReader(size=size).read("train")
    field.set_aabb(scene.aabb)
    sampler.prepare(scene.aabb)
    return RadianceFieldArtifact(field=field.eval(), sampler=sampler.eval(), scene=SceneInfo.from_scene(scene))


def write_teacher(folder: Path, size: int = 16) -> Path:
    """Checkpoint of the tiny teacher."""
    path = folder / "teacher.ckpt"
    write_checkpoint(tiny_teacher(size), path)
    return path


def write_predict_config(folder: Path, views: Path) -> Path:
    """Configuration that lets a tiny teacher write seven views into ``views``."""
    teacher = write_teacher(folder)
    path = folder / "predict.yaml"
    path.write_text(PREDICT % {"folder": views, "teacher": teacher})
    return path
