"""One driver of tuning: what ``compress.py lsa`` makes, ``train.py`` makes, in one process and in two."""

from pathlib import Path
from typing import Any

import pytest
import yaml

import compress
from nerfcomp.artifacts.checkpoint import read_checkpoint, write_checkpoint
from nerfcomp.artifacts.radiance_field import RadianceFieldArtifact
from nerfcomp.artifacts.scene_info import SceneInfo
from nerfcomp.codec import to_bytes
from nerfcomp.commands.lsa_files import LSAOptions
from nerfcomp.commands.lsa_tuning import rays_per_process, tuning_config
from nerfcomp.errors import NerfcompError
from nerfcomp.rate_control.tuned_search import encode_within
from nerfcomp.readers import BlenderReader, ProceduralReader
from nerfcomp.readers.blender_writer import write_blender
from tests import ranks
from tests.modules.tiny_fields import tiny_ngp, tiny_pair

CONFIG = """
trainer: {max_steps: 6, devices: %(processes)d, strategy: %(strategy)s, callbacks: [RunCheckpoint], logger: false,
  default_root_dir: %(folder)s, limit_val_batches: 0, num_sanity_val_steps: 0, enable_progress_bar: false}
model:
  class_path: LSAModule
  init_args:
    init_from: %(start)s
    training_sampler: {class_path: OccupancySampler, init_args: {n_steps: 256, resolution: 8}}
    scheduler: {class_path: StepDecay, init_args: {every: 3, factor: 0.1}}
data:
  class_path: RayDataModule
  init_args:
    reader: {class_path: BlenderReader, init_args: {root: %(scene)s, downscale: 2, val_hold: 25}}
    batch_size: %(batch)d
    steps_per_epoch: 3
"""


def options(**changes: Any) -> LSAOptions:
    return LSAOptions(**{**dict.fromkeys(LSAOptions._fields), "batch_size": 64, "processes": 1, **changes})


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tuning") / "scene"
    write_blender(ProceduralReader(image_size=16, n_train=26, n_val=1, n_test=1, supersampling=1), folder)
    train = BlenderReader(folder, downscale=2).read("train")
    field, sampler = tiny_pair()
    field.set_aabb(train.aabb)
    sampler.prepare(train.aabb)
    trained = RadianceFieldArtifact(field=field, sampler=sampler, scene=SceneInfo.from_scene(train))
    write_checkpoint(trained, folder / "pair.ckpt")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_the_command_and_the_program_end_with_the_same_bytes(processes: int, scene: Path, tmp_path: Path) -> None:
    chosen = {"root": scene, "out": tmp_path / "runs", "qp": -18, "n_iters": 3, "epochs": 2, "batch_size": 64}
    chosen |= {"movie_frames": 0, "uniform": "true", "processes": processes}
    named = [str(part) for key, value in chosen.items() for part in (f"--{key}", value)]
    compress.main(["lsa", str(scene / "pair.ckpt"), *named])
    (folder,) = (tmp_path / "runs").iterdir()
    shown = yaml.safe_load((folder / "config.yaml").read_text())
    assert shown["trainer"]["devices"] == processes and shown["model"]["class_path"].endswith("LSAModule")

    values = {"processes": processes, "strategy": "ddp" if processes > 1 else "auto", "scene": scene}
    values |= {"folder": tmp_path, "start": folder / "checkpoints" / "quantized.ckpt", "batch": 64 // processes}
    (tmp_path / "own.yaml").write_text(CONFIG % values)
    ranks.run(["fit", "--config", tmp_path / "own.yaml"], tmp_path, processes)
    tuned = read_checkpoint(tmp_path / "checkpoints" / "last.ckpt")
    expected = to_bytes(encode_within(tuned, None, {"source": "pair.ckpt", "qp": -18}))
    assert (folder / "bitstream" / f"{folder.name}.nfc").read_bytes() == expected


def test_processes_share_a_batch_evenly() -> None:
    assert rays_per_process(options(processes=2)) == 32
    for processes in (0, 3):
        with pytest.raises(NerfcompError, match="--processes divides"):
            rays_per_process(options(processes=processes))


def test_only_vanilla_nerfs_march_to_tune(scene: Path, tmp_path: Path) -> None:
    some = options(root=str(scene), dataset_type="blender", n_iters=3, test_stride=1, movie_frames=0)
    pair = tuning_config(some, scene / "pair.ckpt", tmp_path, 6, shown=True)
    assert pair["model"]["init_args"]["training_sampler"]["init_args"]["resolution"] == 8
    assert pair["trainer"]["logger"]["init_args"]["name"] == tmp_path.name
    field, sampler = tiny_ngp()
    known = read_checkpoint(scene / "pair.ckpt")
    assert isinstance(known, RadianceFieldArtifact)
    write_checkpoint(RadianceFieldArtifact(field=field, sampler=sampler, scene=known.scene), tmp_path / "ngp.ckpt")
    quiet = tuning_config(some, tmp_path / "ngp.ckpt", tmp_path, 6, shown=False)
    assert quiet["model"]["init_args"]["training_sampler"] is None and quiet["trainer"]["logger"] is False
