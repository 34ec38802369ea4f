"""What a model costs: weights, zeros, multiplications, bytes, milliseconds, and what it is worth."""

import math
import time
from pathlib import Path
from typing import NamedTuple

import torch

from nerfcomp.artifacts.artifact import SceneArtifact
from nerfcomp.artifacts.nfc import read_nfc, write_nfc
from nerfcomp.evaluation.views import mean_psnr
from nerfcomp.geometry.cameras import select_views
from nerfcomp.rate_control.targets import RateTarget, encode_for
from nerfcomp.readers.scene import Scene

_FRAMES = 5


class Complexity(NamedTuple):
    """One row of the table that pruning and slimming show.

    Attributes:
        stage: What was done.
        parameters: Weights and biases of the folded network.
        zeros: How many of them are exactly zero.
        sparsity: Their share.
        mmacs: Millions of multiplications for one picture, zeros left out; NaN where that depends on what is seen.
        bytes: Of the ``.nfc`` file.
        psnr: Of the network in memory, dB on validation views.
        psnr_nfc: Of the decoded file.
        milliseconds: To draw one picture of the scene's size with the network in memory, its layers merged.
    """

    stage: str
    parameters: int
    zeros: int
    sparsity: float
    mmacs: float
    bytes: int
    psnr: float
    psnr_nfc: float
    milliseconds: float


def frame_milliseconds(trained: SceneArtifact) -> float:
    """Fastest of a few pictures from the home view, in float32, by the fastest form of the network."""
    fast, home = trained.for_drawing(), select_views(trained.scene.camera, [0])
    times = []
    with torch.inference_mode():
        for _ in range(_FRAMES):
            start = time.perf_counter()
            fast.draw(home).rgb.sum().item()
            times.append(1e3 * (time.perf_counter() - start))
    return min(times)


def measure_complexity(trained: SceneArtifact, stage: str, scene: Scene, path: Path, target: RateTarget) -> Complexity:
    """Measure everything; leaves the ``.nfc`` file at ``path``.

    Args:
        trained: A model with its scene.
        stage: Name of the row.
        scene: Views to measure on.
        path: File to write.
        target: Quality of the file.

    Returns:
        The row.
    """
    plain = trained.for_coding()
    parameters = list(plain.without_hooks().field.parameters())
    count = sum(parameter.numel() for parameter in parameters)
    zeros = sum(int((parameter == 0).sum()) for parameter in parameters)
    size = write_nfc(encode_for(plain, target, provenance={"stage": stage}), path)
    macs = plain.multiplications()
    measure = mean_psnr(scene)
    return Complexity(
        stage,
        count,
        zeros,
        zeros / count,
        math.nan if macs is None else macs.nonzero / 1e6,
        size,
        measure(plain),
        measure(read_nfc(path)),
        frame_milliseconds(plain),
    )
