"""Training one volume to a file of given bytes: what ``compress.py volume`` and ``compress.py search`` share."""

import math
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from lightning import Callback

from nerfcomp.artifacts.volume import VolumeArtifact
from nerfcomp.callbacks import RateControl
from nerfcomp.callbacks.step_clock import StepClock
from nerfcomp.commands.training import inner_trainer
from nerfcomp.datamodules import VolumeDataModule
from nerfcomp.errors import VolumeError
from nerfcomp.fields import VolumeField
from nerfcomp.modules import VolumeModule
from nerfcomp.optim import GridAdam, WarmupCosine
from nerfcomp.readers import Volume

_TRIED_STEPS, _SKIPPED_STEPS = 24, 8  # that tell how long a step takes
_SLOWER = 1.2  # than a tried step, with what a run does now and then
_MOST_BATCH, _LEAST_BATCH, _VOXELS_PER_POINT = 2**17, 2**12, 8
_LEAST_STEPS = 50


class Training(NamedTuple):
    """One training run.

    Attributes:
        target_bytes: Most bytes of the file.
        steps: Optimizer steps.
        seed: Of weights and points.
        field: The network; one that suits volume and bytes when absent.
        learning_rate: Of the grid.
        final: Share of the learning rate that is left at the end.
        points: Points per step; as many as suit the volume when absent.
    """

    target_bytes: int
    steps: int
    seed: int = 0
    field: VolumeField | None = None
    learning_rate: float = 1e-2
    final: float = 0.02
    points: int | None = None


class KnownVolume:
    """A reader of what has been read already.

    Args:
        volume: The volume.
    """

    def __init__(self, volume: Volume) -> None:
        self.volume = volume

    def read(self) -> Volume:
        """Give the volume."""
        return self.volume


def train_volume(
    volume: Volume, training: Training, callbacks: Sequence[Callback] = (), resume: Path | None = None
) -> VolumeArtifact:
    """Train a field whose weights are left as the decoder will give them.

    Args:
        volume: The volume.
        training: What to train.
        callbacks: What else happens; they come before the rounding of weights.
        resume: Checkpoint of the same run to go on from.

    Returns:
        A model that ``encode_for`` writes to a file of at most ``target_bytes``, if that is possible.
    """
    trainer = inner_trainer(training.steps, [*callbacks, RateControl(training.target_bytes)])
    torch.manual_seed(training.seed)
    module = VolumeModule(
        field=training.field,
        optimizer=lambda parameters: GridAdam(parameters, lr=training.learning_rate),
        scheduler=lambda o, n: WarmupCosine(o, n, final=training.final, warmup_steps=max(1, min(50, n // 10))),
        target_bytes=training.target_bytes,
    )
    module.hparams.clear()  # they hold functions, which no checkpoint should
    data = VolumeDataModule(KnownVolume(volume), batch_size=training.points or batch_size(volume), seed=training.seed)
    trainer.fit(module, datamodule=data, ckpt_path=None if resume is None else str(resume), weights_only=True)
    return module.trained.replace(field=module.trained.field.eval())


def batch_size(volume: Volume) -> int:
    """Points per step: an eighth of the voxels, within limits.

    >>> import numpy as np
    >>> batch_size(Volume(np.zeros((64, 64, 64), np.uint8)))
    32768
    """
    return max(_LEAST_BATCH, min(_MOST_BATCH, volume.values.size // _VOXELS_PER_POINT))


def steps_within(volume: Volume, training: Training, seconds: float) -> int:
    """Steps that a time allows for, from a few that are tried and thrown away."""
    clock, started = StepClock(), time.perf_counter()
    train_volume(volume, training._replace(steps=_TRIED_STEPS), [clock])
    times = [after - before for before, after in zip(clock.ends[_SKIPPED_STEPS:-1], clock.ends[_SKIPPED_STEPS + 1 :])]
    left = seconds - (time.perf_counter() - started)
    return max(_LEAST_STEPS, int(left / (_SLOWER * statistics.median(times))))


def bytes_for_ratio(volume: Volume, ratio: float) -> int:
    """Bytes of a file that is so many times smaller than the values as float32.

    Raises:
        VolumeError: The ratio is no number above 1.
    """
    if not 1.0 < ratio < math.inf:
        raise VolumeError(f"A ratio of {ratio:g} cannot be aimed at; it must be above 1.")
    return max(1, int(4 * volume.values.size / ratio))
