"""Tuning for ``compress.py lsa``: the options become a configuration, which runs as ``train.py fit`` does."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from nerfcomp.artifacts.checkpoint import read_checkpoint
from nerfcomp.artifacts.kinds import of_kind
from nerfcomp.artifacts.radiance_field import RadianceFieldArtifact
from nerfcomp.commands.lsa_files import LSAOptions
from nerfcomp.commands.training import run_cli
from nerfcomp.errors import NerfcompError
from nerfcomp.evaluation.views import ThinnedReader
from nerfcomp.files import atomic_write
from nerfcomp.readers import BlenderReader, LLFFReader, SceneReader

HELD_VIEWS = 4  # shown while tuning
_VAL_HOLD = {"blender": 25, "llff": 8}  # every n-th training view is held back from tuning
_CONFIG = "tuning.yaml"


def tune(options: LSAOptions, start: Path, folder: Path, steps: int, shown: bool) -> RadianceFieldArtifact:
    """Tune a quantized field, going on where an earlier session stopped.

    Args:
        options: What the command was asked for.
        start: Checkpoint of the quantized field.
        folder: Of the run; ``tuning.yaml`` and ``checkpoints/last.ckpt`` are its parts.
        steps: Number of iterations.
        shown: With everything that a person wants to see of it; otherwise quietly.

    Raises:
        NerfcompError: One of several processes stopped.
    """
    last = folder / "checkpoints" / "last.ckpt"
    with atomic_write(folder / _CONFIG) as path:
        path.write_text(yaml.safe_dump(tuning_config(options, start, folder, steps, shown), sort_keys=False))
    resume = ["--ckpt_path", str(last)] if last.exists() else []
    arguments = ["fit", "--config", str(folder / _CONFIG), *resume]
    if options.processes == 1:
        run_cli(arguments)
    else:
        _run_processes(arguments)
    return of_kind(read_checkpoint(last), RadianceFieldArtifact, "LSA tunes")


def tuning_config(options: LSAOptions, start: Path, folder: Path, steps: int, shown: bool) -> dict[str, Any]:
    """The configuration that ``train.py fit`` takes; arguments as of `tune`."""
    trained = of_kind(read_checkpoint(start), RadianceFieldArtifact, "LSA tunes")
    places = {"resolution": trained.sampler.occupied.shape[-1], "n_steps": 256}
    model = {
        "init_from": str(start),
        **{key: getattr(options, key) for key in ("scale_qp", "bias_qp", "tune_biases")},
        "training_sampler": _described("OccupancySampler", places) if trained.field.deep else None,
        "optimizer": _described("torch.optim.Adam", {"lr": options.learning_rate}),
        "scheduler": _described("StepDecay", {"every": options.n_iters, "factor": options.learning_rate_decay}),
    }
    data = {
        "reader": _described(_path(ThinnedReader), {"reader": _scene(options), "stride": options.test_stride}),
        "batch_size": rays_per_process(options),
        "steps_per_epoch": min(options.n_iters, steps),
    }
    return {
        "trainer": _trainer(options, folder, steps, shown),
        "model": _described("LSAModule", model),
        "data": _described("RayDataModule", data),
    }


def rays_per_process(options: LSAOptions) -> int:
    """Rays of an iteration that each process draws.

    Raises:
        NerfcompError: The processes cannot share the batch evenly.
    """
    if options.processes < 1 or options.batch_size % options.processes:
        raise NerfcompError(
            f"{options.processes} processes cannot share batches of {options.batch_size} rays evenly. Give a "
            "--batch_size that --processes divides."
        )
    return options.batch_size // options.processes


def scene_reader(options: LSAOptions) -> SceneReader:
    """The reader of a run's scene; some training views are held back from tuning."""
    kind = LLFFReader if options.dataset_type == "llff" else BlenderReader
    reader: SceneReader = kind(**_scene(options)["init_args"])
    return ThinnedReader(reader, options.test_stride)


def _scene(options: LSAOptions) -> dict[str, Any]:
    """Description of the reader."""
    hold, root = _VAL_HOLD[options.dataset_type], str(Path(options.root).resolve())
    if options.dataset_type == "llff":
        return _described("LLFFReader", {"root": root, "factor": options.downscale or 8, "val_hold": hold})
    return _described("BlenderReader", {"root": root, "downscale": options.downscale or 2, "val_hold": hold})


def _trainer(options: LSAOptions, folder: Path, steps: int, shown: bool) -> dict[str, Any]:
    """How long, in how many processes, and what is shown."""
    place = {"name": folder.name, "save_dir": str(folder.parent), "version": ""}
    return {
        "max_steps": steps,
        "devices": options.processes,
        "strategy": "ddp" if options.processes > 1 else "auto",
        "default_root_dir": str(folder),
        "logger": _described("RunLogger", place) if shown else False,
        "callbacks": [*(_shown(options) if shown else []), {"class_path": "RunCheckpoint"}],
        "enable_progress_bar": shown,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "limit_val_batches": HELD_VIEWS if shown else 0,
        "log_every_n_steps": max(1, min(50, steps // 10)),
    }


def _shown(options: LSAOptions) -> list[dict[str, Any]]:
    """Callbacks that show what happens."""
    callbacks = [{"class_path": name} for name in ("RunProgressBar", "Throughput", "ResultFile")]
    every = options.save_every
    if every is not None:
        callbacks += [_described("ViewRender", {"every_n_steps": every, "at_end": False})]
        callbacks += [_described("StepCheckpoint", {"every_n_steps": every})]
    if options.movie_frames:
        film = {"n_frames": options.movie_frames, "scale": options.movie_scale, "depth": options.disparity}
        callbacks.append(_described("MovieRender", {"every_n_steps": every, **film}))
    return callbacks


def _described(class_path: str, init_args: dict[str, Any]) -> dict[str, Any]:
    return {"class_path": class_path, "init_args": init_args}


def _path(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _run_processes(arguments: list[str]) -> None:
    """Run ``train.py`` in a process that starts the others."""
    root = str(Path(__file__).resolve().parents[2])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    command = [sys.executable, "-m", "nerfcomp.commands.training", *arguments]
    status = subprocess.run(command, env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)}).returncode
    if status:
        raise NerfcompError(
            f"Tuning stopped with status {status}; what went wrong stands above. `compress.py lsa --resume FOLDER` "
            "goes on from the last checkpoint."
        )
