"""Training a field for the size of its file, within a time, for ``compress.py encode --tune``.

Views that the reader holds back decide what is better; test views take no part. What a run needs to go on after it was
killed lies in a folder beside the file.
"""

import json
import logging
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning import Callback

from nerfcomp.artifacts.kinds import of_kind, rebuild
from nerfcomp.artifacts.radiance_field import RadianceFieldArtifact
from nerfcomp.artifacts.reading import read_artifact
from nerfcomp.callbacks import RateStage, RunProgressBar
from nerfcomp.callbacks.resume_point import ResumePoint
from nerfcomp.callbacks.step_clock import StepClock
from nerfcomp.commands.training import inner_trainer
from nerfcomp.compression import RateAware
from nerfcomp.datamodules import RayDataModule
from nerfcomp.errors import NerfcompError
from nerfcomp.evaluation.report import write_json
from nerfcomp.modules import RadianceFieldModule, VanillaNeRFModule
from nerfcomp.optim import GridAdam, WarmupCosine
from nerfcomp.readers import SceneReader
from nerfcomp.rendering import OccupancySampler, Sampler

logger = logging.getLogger("compress")
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_TRIED_STEPS, _SKIPPED_STEPS = 14, 4
_LEAST_STEPS = 30
_SLOWER = 1.1  # a step of the run, with all that happens now and then, than one that was tried
_RAYS, _RAYS_OF_DEEP = 4096, 512
_SAMPLES = 2**14
_CELLS = 2**17  # refreshed at a time
_FINAL_RATE = 0.03  # of the learning rate


class TuningOptions(NamedTuple):
    """What a run was asked for; another run does not go on with it.

    Attributes:
        source: File of the field.
        changed: When that was written, in nanoseconds.
        target_bytes: Most bytes of the file.
        seconds: Time for training.
        steps: As many fit into it; 0 before that is known.
        rate: Learning rate.
    """

    source: str
    changed: int
    target_bytes: int
    seconds: float
    steps: int = 0
    rate: float = 4e-3


def seconds_of(text: str) -> float:
    """Read a duration such as 90s, 10m or 1.5h.

    Raises:
        NerfcompError: It is none.

    >>> seconds_of("10m"), seconds_of("90s"), seconds_of("1.5h")
    (600.0, 90.0, 5400.0)
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text.strip())
    if found is None or float(found[1]) <= 0:
        raise NerfcompError(f"{text!r} is no duration; give a number with s, m or h behind it, such as 90s or 10m.")
    return float(found[1]) * _UNITS[found[2]]


def tuned_field(source: Path, target_bytes: int, seconds: float, reader: SceneReader, folder: Path) -> Any:
    """Train a field for a file of at most so many bytes; go on with a run that was killed.

    Args:
        source: Checkpoint or ``.nfc`` file of a radiance field.
        target_bytes: Most bytes of the file.
        seconds: Time for training.
        reader: The scene.
        folder: Of the run.

    Returns:
        The artifact, whose weights are values of the decoder.
    """
    asked = TuningOptions(str(source.resolve()), source.stat().st_mtime_ns, target_bytes, seconds)
    options = _known(folder)
    if options is None or options._replace(steps=0) != asked:
        (folder / "last.ckpt").unlink(missing_ok=True)
        started = time.perf_counter()
        step = _step_seconds(asked, reader)
        left = seconds - (time.perf_counter() - started)
        options = asked._replace(steps=max(_LEAST_STEPS, int(left / (_SLOWER * step))))
        write_json(folder / "options.json", options._asdict())
        logger.info("Training for size: %d steps of %.2f s", options.steps, step)
    last = folder / "last.ckpt"
    if last.exists():
        logger.info("Going on with the run in %s", folder)
    # what a finished run leaves is rounded after the last checkpoint: see ResumePoint
    callbacks = [RunProgressBar(), ResumePoint(last, every_seconds=30.0), RateStage(target_bytes=target_bytes)]
    module = _fit(options, reader, callbacks, options.steps, last if last.exists() else None)
    trained = module.trained
    return trained.replace(field=trained.field.eval())


def _known(folder: Path) -> TuningOptions | None:
    """Options of the run that stands in a folder."""
    path = folder / "options.json"
    return TuningOptions(**json.loads(path.read_text())) if path.exists() else None


def _step_seconds(options: TuningOptions, reader: SceneReader) -> float:
    """Mean time of a step, from a few that are tried and thrown away."""
    clock = StepClock()
    _fit(options, reader, [clock, RateStage(allocations=1, noise=0.0)], _TRIED_STEPS)
    ends = clock.ends[_SKIPPED_STEPS:]
    return (ends[-1] - ends[0]) / (len(ends) - 1)


def _fit(
    options: TuningOptions, reader: SceneReader, callbacks: Sequence[Callback], steps: int, resume: Path | None = None
) -> RadianceFieldModule:
    """Train so many steps."""
    torch.manual_seed(0)
    start = of_kind(read_artifact(options.source), RadianceFieldArtifact, "Tuning for size is for")
    deep = start.field.deep
    twin = of_kind(rebuild(start.without_hooks().describe()), RadianceFieldArtifact, "Tuning for size is for")
    cls: Any = VanillaNeRFModule if deep else RadianceFieldModule
    module: RadianceFieldModule = cls(
        twin.field,
        twin.sampler if deep else _refreshed(twin.sampler),
        optimizer=lambda parameters: GridAdam(parameters, lr=0.1 * options.rate if deep else options.rate),
        scheduler=lambda optimizer, total: WarmupCosine(optimizer, total, _FINAL_RATE, min(20, total // 10)),
        max_samples=_SAMPLES,
        init_from=options.source,
        hooks=[RateAware()],
    )
    module.hparams.clear()  # they hold functions, which no checkpoint should
    trainer = inner_trainer(steps, callbacks)
    data = RayDataModule(reader, batch_size=_RAYS_OF_DEEP if deep else _RAYS)
    trainer.fit(module, datamodule=data, ckpt_path=None if resume is None else str(resume), weights_only=True)
    return module


def _refreshed(sampler: Sampler) -> OccupancySampler:
    """A sampler that knows what is empty from the start, and looks at few cells at a time."""
    return OccupancySampler(**{**sampler.arguments, "warmup_steps": 0, "cells_per_update": _CELLS})
