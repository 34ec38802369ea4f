"""What a run shows while it trains is what an evaluation of its checkpoint shows, to the last bit."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning import Trainer

from nerfcomp.artifacts.artifact import SceneArtifact
from nerfcomp.artifacts.reading import read_scene_artifact
from nerfcomp.callbacks import BitstreamExport, VideoRender
from nerfcomp.callbacks import video as video_file
from nerfcomp.callbacks.media import Picture, to_picture
from nerfcomp.datamodules import RayDataModule
from nerfcomp.evaluation.views import evaluate_views
from nerfcomp.fields import NeRFField, NGPField
from nerfcomp.geometry.cameras import select_views
from nerfcomp.modules import FieldModule, RadianceFieldModule, VanillaNeRFModule
from nerfcomp.rendering import HierarchicalSampler, OccupancySampler
from tests.modules.tiny_fields import data

pytestmark = pytest.mark.slow

MakeTrainer = Callable[..., Trainer]
STEPS, FRAMES = 3, 2


def young_ngp() -> FieldModule:
    """Doubled steps, and jitter."""
    torch.manual_seed(0)
    field = NGPField(levels=3, log2_table_size=9, finest_resolution=32, hidden_width=16)
    return RadianceFieldModule(field, OccupancySampler(resolution=16, n_steps=32, coarse_until=100))


def noisy_nerf() -> FieldModule:
    """Noise on densities, random distances, and emptiness that is known from other weights."""
    torch.manual_seed(0)
    field = NeRFField(depth=2, width=24, skips=[], position_frequencies=3, direction_frequencies=1, density_noise=1.0)
    places = OccupancySampler(resolution=16, n_steps=32)
    return VanillaNeRFModule(field, HierarchicalSampler(8, 8, resolution=8), places, max_samples=2048)


def film_of(trained: SceneArtifact, datamodule: RayDataModule) -> list[Picture]:
    camera = datamodule.path_cameras("auto", FRAMES)
    with trained.evaluating():
        views = [trained.draw(select_views(camera, [frame]), datamodule.background) for frame in range(FRAMES)]
    return [to_picture(view.rgb, camera.height, camera.width) for view in views]


@pytest.mark.parametrize("make", [young_ngp, noisy_nerf])
def test_films_and_files_are_those_of_the_checkpoint(
    make: Callable[[], FieldModule], make_trainer: MakeTrainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[Picture] = []
    monkeypatch.setattr(video_file, "write_mp4", lambda path, pictures, fps: shown.extend(pictures))
    export = BitstreamExport(every_n_steps=STEPS, views=1)
    measured: list[dict[str, float]] = []
    measure = export.measure

    def noted(*args: Any) -> dict[str, float]:
        measured.append(measure(*args))
        return measured[-1]

    monkeypatch.setattr(export, "measure", noted)
    callbacks = [VideoRender(every_n_steps=STEPS, at_end=False, n_frames=FRAMES, depth=False), export]
    module, datamodule = make(), data()
    module.hparams.clear()
    trainer = make_trainer(max_steps=STEPS, limit_val_batches=0, callbacks=callbacks)
    trainer.fit(module, datamodule=datamodule)
    trainer.save_checkpoint(tmp_path / "last.ckpt")

    trained = read_scene_artifact(tmp_path / "last.ckpt")
    assert all(np.array_equal(one, two) for one, two in zip(shown, film_of(trained, datamodule), strict=True))
    view = datamodule.split("val")
    assert measured[0]["psnr_fp32"] == evaluate_views(trained, view)[0].psnr
    (path,) = (tmp_path / "bitstreams").glob("*.nfc")
    assert measured[0]["psnr"] == evaluate_views(read_scene_artifact(path), view)[0].psnr
