"""Small untrained fields in checkpoints, and a scene of 16x16 pixels to tune them on."""

from pathlib import Path

import torch
from lightning import Callback, LightningModule, Trainer

from nerfcomp.artifacts.checkpoint import write_checkpoint
from nerfcomp.artifacts.radiance_field import RadianceFieldArtifact
from nerfcomp.artifacts.scene_info import SceneInfo
from nerfcomp.datamodules import RayDataModule
from nerfcomp.fields import NeRFField, NGPField, RadianceField
from nerfcomp.readers import ProceduralReader
from nerfcomp.rendering import HierarchicalSampler, OccupancySampler, Sampler


def data() -> RayDataModule:
    reader = ProceduralReader(image_size=16, n_train=3, n_val=1, n_test=1, supersampling=1)
    return RayDataModule(reader, batch_size=64, steps_per_epoch=10)


def save(field: RadianceField, sampler: Sampler, path: Path) -> Path:
    scene = data().split("train")
    field.set_aabb(scene.aabb)
    sampler.prepare(scene.aabb, scene.camera, False, scene.images[..., 3])
    write_checkpoint(RadianceFieldArtifact(field=field, sampler=sampler, scene=SceneInfo.from_scene(scene)), path)
    return path


def tiny_pair() -> tuple[RadianceField, Sampler]:
    torch.manual_seed(0)
    field = NeRFField(depth=3, width=24, skips=[1], position_frequencies=3, direction_frequencies=2)
    return field, HierarchicalSampler(12, 12, resolution=8)


def tiny_ngp() -> tuple[RadianceField, Sampler]:
    torch.manual_seed(0)
    field = NGPField(levels=3, log2_table_size=9, finest_resolution=32, hidden_width=16)
    with torch.no_grad():
        for level in field.grid.parameters():
            level.normal_(0.0, 0.5)
    return field, OccupancySampler(resolution=16, n_steps=32)


def quiet_fit(
    module: LightningModule,
    datamodule: RayDataModule,
    folder: Path,
    steps: int,
    ckpt: Path | None = None,
    callbacks: list[Callback] | None = None,
) -> Trainer:
    """Train so many steps on the CPU and write nothing."""
    module.hparams.clear()
    trainer = Trainer(
        max_steps=steps,
        accelerator="cpu",
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        limit_val_batches=0,
        callbacks=callbacks,
    )
    trainer.fit(module, datamodule=datamodule, ckpt_path=ckpt, weights_only=True)
    return trainer
