"""What is disturbed: every command that writes something, on models and scenes as small as they can be."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import yaml

from nerfcomp.artifacts.checkpoint import read_checkpoint, write_checkpoint
from nerfcomp.artifacts.kinds import of_kind
from nerfcomp.artifacts.nfc import encode_artifact, uniform_allocation, write_nfc
from nerfcomp.artifacts.radiance_field import RadianceFieldArtifact
from nerfcomp.artifacts.scene_info import SceneInfo
from nerfcomp.readers import BlenderReader, ProceduralReader
from nerfcomp.readers.blender_writer import write_blender
from tests.modules.tiny_fields import tiny_ngp, tiny_pair

_STEPS = 24
Words = Callable[[Path], list[str] | None]


class Command(NamedTuple):
    """One command.

    Attributes:
        words: Its words for a folder to work in: those of a first start, or those that go on with what is there; None
            where all is done.
        products: Patterns of the files whose bytes, or weights, must be those of an undisturbed run.
        program: ``train`` or ``compress``.
    """

    words: Words
    products: tuple[str, ...]
    program: str = "compress"


def prepare(folder: Path) -> dict[str, Command]:
    """Write a scene, a volume and two models; the commands by name."""
    scene = folder / "scene"
    write_blender(ProceduralReader(image_size=16, n_train=26, n_val=1, n_test=1, supersampling=1), scene)
    train = BlenderReader(scene, downscale=2).read("train")
    for name, (field, sampler) in {"pair": tiny_pair(), "ngp": tiny_ngp()}.items():
        field.set_aabb(train.aabb)
        sampler.prepare(train.aabb, train.camera, False, train.images[..., 3])
        trained = RadianceFieldArtifact(field=field, sampler=sampler, scene=SceneInfo.from_scene(train))
        write_checkpoint(trained, folder / f"{name}.ckpt")
    model = of_kind(read_checkpoint(folder / "ngp.ckpt"), RadianceFieldArtifact, "Here are")
    write_nfc(encode_artifact(model, uniform_allocation(model, -24)), folder / "ngp.nfc")
    axes = np.meshgrid(*[np.linspace(-1, 1, 12, dtype=np.float32)] * 3, indexing="ij")
    np.save(folder / "volume.npy", np.sin(3 * axes[0]) * axes[1] + axes[2])
    (folder / "fit.yaml").write_text(yaml.safe_dump(_fit(scene)))
    reader = f"--reader.class_path=BlenderReader --reader.init_args.root={scene} --reader.init_args.downscale=2"
    return {
        "fit": Command(lambda at: _fit_words(folder, at), ("**/last.ckpt", "**/*.nfc", "**/*.mp4"), "train"),
        "lsa": Command(lambda at: _lsa_words(folder, at), ("*/bitstream/*.nfc", "*/bitstream/**/*.nnc", "*/**/*.mp4")),
        "encode": _once(f"encode {folder}/ngp.ckpt --out=out.nfc --qp=-24 --uniform=true", "out.nfc"),
        "decode": _once(f"decode {folder}/ngp.nfc --out=out.ckpt", "out.ckpt"),
        "unwrap": _once(f"unwrap {folder}/ngp.nfc --out=streams", "streams/small.nnc"),
        "film": _once(f"render {folder}/ngp.nfc --out=out.mp4 --n_frames=8 --scale=4", "out.mp4"),
        "stills": _again(
            f"render {folder}/ngp.nfc --out=pictures --n_frames=4", "pictures/path.json", "pictures/*.png"
        ),
        "mesh": _once(f"mesh {folder}/ngp.nfc --out=out.ply --resolution=24 --level=0.5", "out.ply"),
        "sweep": _again(f"sweep {folder}/ngp.ckpt --out=out --qps=[-24,-16] --uniform=true {reader}", "", "out/*.nfc"),
        "evaluate": _once(f"evaluate {folder}/ngp.nfc --out=figures {reader}", "figures/results.json"),
        "volume": Command(lambda at: _volume_words(folder, at), ("out.nfc",)),
    }


def same(first: Path, second: Path) -> bool:
    """Whether two files hold the same: weights of checkpoints, figures without times, bytes of all others."""
    if first.suffix == ".json":
        return bool(_timeless(json.loads(first.read_text())) == _timeless(json.loads(second.read_text())))
    if first.suffix != ".ckpt":
        return first.read_bytes() == second.read_bytes()
    states = [torch.load(path, weights_only=True)["state_dict"] for path in (first, second)]
    return states[0].keys() == states[1].keys() and all(
        torch.equal(states[0][key], states[1][key]) for key in states[0]
    )


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(part) for key, part in value.items() if "second" not in key}
    return [_timeless(part) for part in value] if isinstance(value, list) else value


def _once(words: str, out: str, *products: str) -> Command:
    """A command whose output is whole once it is there."""
    return Command(lambda at: None if (at / out).exists() else words.split(), products or (out,))


def _again(words: str, done: str, *products: str) -> Command:
    """A command that goes on with what is there."""
    return Command(lambda at: None if done and (at / done).exists() else words.split(), products)


def _fit(scene: Path) -> dict[str, Any]:
    field = {"levels": 3, "log2_table_size": 9, "finest_resolution": 32, "hidden_width": 16}
    model = {
        "field": {"class_path": "NGPField", "init_args": field},
        "sampler": {"class_path": "OccupancySampler", "init_args": {"resolution": 16, "n_steps": 32}},
        "max_samples": 2048,
    }
    callbacks = [
        {"class_path": "VideoRender", "init_args": {"n_frames": 4}},
        {"class_path": "BitstreamExport", "init_args": {"every_n_steps": 12, "views": 1, "uniform": True}},
        {"class_path": "RunCheckpoint", "init_args": {"every_n_train_steps": 5}},
    ]
    logger = {"class_path": "RunLogger", "init_args": {"name": "tiny", "save_dir": "runs"}}
    trainer = {"accelerator": "cpu", "max_steps": _STEPS, "num_sanity_val_steps": 0, "enable_model_summary": False}
    data = {
        "reader": {"class_path": "BlenderReader", "init_args": {"root": str(scene), "downscale": 2, "val_hold": 25}}
    }
    return {
        "trainer": {**trainer, "logger": logger, "callbacks": callbacks, "enable_progress_bar": False},
        "model": {"class_path": "RadianceFieldModule", "init_args": model},
        "data": {"class_path": "RayDataModule", "init_args": {**data, "batch_size": 64, "steps_per_epoch": 8}},
    }


def _fit_words(folder: Path, at: Path) -> list[str]:
    """Go on with the last run that has a checkpoint."""
    for last in sorted((at / "runs").glob("tiny/*/checkpoints/last.ckpt"), reverse=True):
        return ["fit", "--config", str(last.parents[1] / "config.yaml"), "--ckpt_path", str(last)]
    return ["fit", "--config", str(folder / "fit.yaml")]


def _lsa_words(folder: Path, at: Path) -> list[str]:
    for options in (at / "runs").glob("*/options.json"):
        return ["lsa", "--resume", str(options.parent)]
    words = f"lsa {folder}/pair.ckpt --root={folder}/scene --out=runs --qp=-18 --n_iters=6 --epochs=2 --batch_size=64"
    return [*words.split(), "--movie_frames=3", "--uniform=true"]


def _volume_words(folder: Path, at: Path) -> list[str]:
    words = f"volume {folder}/volume.npy --out=out.nfc --target_ratio=20 --method=network --steps=30".split()
    return [*words, "--resume=true"] if (at / "out.run" / "options.json").exists() else words
