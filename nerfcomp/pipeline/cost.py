"""What a light field costs: weights, zeros, multiplications, bytes, milliseconds, and what it is worth."""

import time
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from nerfcomp.fields import LightField
from nerfcomp.pipeline.bitstream import read_nfc, write_nfc
from nerfcomp.pipeline.encoding import Target, encode_for
from nerfcomp.pipeline.evaluate import evaluate_views
from nerfcomp.pipeline.light_fields import folded, merged
from nerfcomp.pipeline.report import mean_result
from nerfcomp.pipeline.trained import TrainedField
from nerfcomp.rays import camera_on
from nerfcomp.readers.posed import select_views
from nerfcomp.readers.scene import Scene

_FRAMES = 5


class Macs(NamedTuple):
    """Multiplications and additions for one picture.

    Attributes:
        dense: With all weights.
        nonzero: With those weights only that are not exactly zero.
    """

    dense: int
    nonzero: int


class StudentCost(NamedTuple):
    """One row of the table that pruning and slimming show.

    Attributes:
        stage: What was done.
        parameters: Weights and biases of the folded network.
        zeros: How many of them are exactly zero.
        sparsity: Their share.
        mmacs: Millions of multiplications for one picture, zeros left out.
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


def count_macs(field: LightField, height: int, width: int) -> Macs:
    """Count what the convolutions of one picture multiply.

    Args:
        field: The light field.
        height: Rows of the picture.
        width: Columns.

    Returns:
        Both counts; normalisation and encoding are left out.
    """
    positions: dict[int, int] = {}

    def note(layer: nn.Module, inputs: Any, output: Tensor) -> None:
        transposed = isinstance(layer, nn.ConvTranspose2d)
        positions[id(layer)] = (inputs[0] if transposed else output)[0, ..., 0].numel()

    layers = [layer for layer in field.modules() if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)]
    handles = [layer.register_forward_hook(note) for layer in layers]
    rows, columns = (-(-size // field.factor) for size in (height, width))
    training = field.training
    with torch.no_grad():
        field.eval()(torch.zeros(1, rows, columns, 3 * field.points_per_ray, device=field.aabb.device))
    field.train(training)
    for handle in handles:
        handle.remove()
    dense = sum(layer.weight.numel() * positions[id(layer)] for layer in layers)
    return Macs(dense, sum(int(layer.weight.count_nonzero()) * positions[id(layer)] for layer in layers))


def frame_milliseconds(trained: TrainedField) -> float:
    """Fastest of a few pictures from the home view, in float32, by the network with its layers merged."""
    field = merged(trained).field
    assert isinstance(field, LightField)
    camera, bounds = camera_on(select_views(trained.scene.camera, [0]), trained.device), trained.scene.bounds
    times = []
    with torch.inference_mode():
        for _ in range(_FRAMES):
            start = time.perf_counter()
            field.draw(camera, bounds).sum().item()
            times.append(1e3 * (time.perf_counter() - start))
    return min(times)


def measure_cost(trained: TrainedField, stage: str, scene: Scene, path: Path, target: Target) -> StudentCost:
    """Measure everything; leaves the ``.nfc`` file at ``path``.

    Args:
        trained: A light field with its scene.
        stage: Name of the row.
        scene: Views to measure on.
        path: File to write.
        target: Quality of the file.

    Returns:
        The row.
    """
    plain = folded(trained)
    assert isinstance(plain.field, LightField)
    parameters = list(plain.field.parameters())
    count = sum(parameter.numel() for parameter in parameters)
    zeros = sum(int((parameter == 0).sum()) for parameter in parameters)
    size = write_nfc(encode_for(plain, target, provenance={"stage": stage}), path)
    return StudentCost(
        stage,
        count,
        zeros,
        zeros / count,
        count_macs(plain.field, trained.scene.height, trained.scene.width).nonzero / 1e6,
        size,
        mean_result(evaluate_views(plain, scene, stage)).psnr,
        mean_result(evaluate_views(read_nfc(path), scene, "decoded")).psnr,
        frame_milliseconds(plain),
    )
