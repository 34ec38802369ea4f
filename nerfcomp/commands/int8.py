"""``compress.py int8``: a trained field beside itself in 8 bits, calibrated and trained for it."""

import logging
from pathlib import Path
from typing import NamedTuple

import torch

from nerfcomp.artifacts.artifact import Artifact
from nerfcomp.artifacts.checkpoint import read_checkpoint
from nerfcomp.artifacts.coded_tensors import integer_tensors
from nerfcomp.artifacts.integers import calibrated, entropy_of_weights, quantization_of, to_integers
from nerfcomp.artifacts.kinds import of_kind
from nerfcomp.artifacts.nfc import encode_artifact, fp32_bytes, read_nfc, uniform_allocation, write_nfc
from nerfcomp.artifacts.radiance_field import RadianceFieldArtifact
from nerfcomp.artifacts.runs import find_checkpoint
from nerfcomp.codec import Container
from nerfcomp.codec.quantizers import check_qp
from nerfcomp.compression import FakeQuantization, quantizers
from nerfcomp.errors import CheckpointError, NerfcompError, SettingsError
from nerfcomp.evaluation.compare import write_comparison
from nerfcomp.evaluation.report import format_table, mean_result, write_csv, write_json
from nerfcomp.evaluation.speed import points_per_second, processor_name
from nerfcomp.evaluation.views import evaluate_views, some_views, thinned
from nerfcomp.exchange.loading import load_start
from nerfcomp.exchange.nerf_pytorch import usual_distances
from nerfcomp.readers import Scene, SceneReader
from nerfcomp.rendering import HierarchicalSampler

logger = logging.getLogger("compress")


class Int8Row(NamedTuple):
    """One row of the table."""

    stage: str
    psnr: float  # dB, of the decoded file
    ssim: float
    plain_bytes: int  # a byte for each weight
    coded_bytes: int  # NNC streams
    plain_ratio: float
    coded_ratio: float
    entropy: float  # bits per weight, see `entropy_of_weights`
    ms_per_picture: float
    points_per_second: int


def int8(
    input: Path,
    reader: SceneReader,
    out: Path,
    trained: Path | None = None,
    control: Path | None = None,
    bits: int = 8,
    batches: int = 8,
    weights: list[str] | None = None,
    rest_qp: int = -32,
    views: int | None = None,
    stride: int = 1,
) -> None:
    """Compare a field in float32 with itself in 8 bits, calibrated and trained for it.

    Args:
        input: Checkpoint of nerf-pytorch (.tar), of nerf_pl or of ours, folder of a run, or a .nfc file.
        reader: The scene.
        out: Folder for the files, int8.csv, int8.json and int8.png.
        trained: Checkpoint of training for integers (``configs/int8``), or the name of its run, which says what is
            quantized, and how; calibration alone when absent.
        control: Checkpoint, or name of the run, of the same training in float32 (``--model.hooks null``): what more
            steps alone are worth.
        bits: Of a weight, without ``trained``.
        batches: Of rays through training views, for calibration.
        weights: Names of the weights to quantize, with ``*`` and ``?``, without ``trained``; all of linear layers when
            absent.
        rest_qp: QP of what stays float, such as the tables of a grid.
        views: Test views to measure on, evenly spread; all when absent.
        stride: Draw every n-th row and column of them only.
    """
    _check_counts(batches, views, rest_qp)
    original = read_original(find_checkpoint(input), reader).replace(qp=None).without_hooks()
    continued = None if control is None else read_control(find_checkpoint(control), original)
    learned = None if trained is None else read_trained(find_checkpoint(trained), original)
    hooks = [FakeQuantization(weights, bits)] if learned is None else quantization_of(learned)
    for hook in hooks:
        hook.chosen(original.field)
    scene = reader.read("test")
    scene = thinned(some_views(scene, views or len(scene.names)), stride)
    size = fp32_bytes(original)
    rows = [measured("fp32", original, scene, out / "fp32", size, size, size, 32.0)]
    if continued is not None:
        rows.append(measured("fp32, control", continued, scene, out / "control", size, size, size, 32.0))
    stages: dict[str, Artifact] = {"int8, calibrated": calibrated(original, hooks, batches, prepared=True)}
    if learned is not None:
        stages["int8, trained"] = learned
    rows += [integer_row(stage, model, scene, out, size, rest_qp) for stage, model in stages.items()]
    write_results(out, rows, scene)


def _check_counts(batches: int, views: int | None, rest_qp: int) -> None:
    """Refuse numbers out of range before anything is drawn.

    Raises:
        SettingsError: One is.
    """
    if batches < 1 or (views is not None and views < 1):
        raise SettingsError(f"At least 1 batch and 1 view are needed, got {batches} and {views}.")
    check_qp("what stays float", rest_qp)


def read_original(path: Path, reader: SceneReader) -> RadianceFieldArtifact:
    """The field to compare with, whatever file of it there is."""
    train = usual_distances(reader.read("train"))
    white = 1.0 if train.has_alpha else 0.0
    sampler = HierarchicalSampler(64, 64 if train.ndc else 128, cascades=1 if train.ndc else 2)
    return of_kind(load_start(path, train, (white, white, white), sampler), RadianceFieldArtifact, "Integers take")


def read_control(path: Path, original: RadianceFieldArtifact) -> RadianceFieldArtifact:
    """The same field after more steps in float32.

    Raises:
        CheckpointError: It has hooks, or is another network.
    """
    continued = of_kind(read_checkpoint(path), RadianceFieldArtifact, "A control is")
    if quantizers(continued.field):
        raise CheckpointError(f"{path} was trained for integers; a control is trained with --model.hooks null.")
    continued = continued.without_hooks()
    _check_same(continued, original, path)
    return continued


def read_trained(path: Path, original: RadianceFieldArtifact) -> RadianceFieldArtifact:
    """The same field after training for integers.

    Raises:
        CheckpointError: No weight of it is quantized, no range is known, or it is another network.
    """
    learned = of_kind(read_checkpoint(path), RadianceFieldArtifact, "Pictures in integers need")
    found = quantizers(learned.field).values()
    if not any(quantizer.awake for quantizer in found):
        missing = "no range of its activations is known yet" if found else "no weight of it is quantized"
        raise CheckpointError(f"{path} was not trained for integers, {missing}; configs/int8 shows how it is.")
    _check_same(learned.without_hooks(), original, path)
    return learned


def _check_same(other: Artifact, original: Artifact, path: Path) -> None:
    """Make sure that two models have tensors of the same names and shapes.

    Raises:
        CheckpointError: They have not.
    """
    shapes, expected = ({n: tuple(p.shape) for n, p in a.field.named_parameters()} for a in (other, original))
    different = sorted(name for name in shapes.keys() | expected if shapes.get(name) != expected.get(name))
    if different:
        name = different[0]
        raise CheckpointError(
            f"{path} is of another network than the one to compare with: {name} has the shape {shapes.get(name)} "
            f"there and {expected.get(name)} here. Give one that was trained from it (--model.init_from)."
        )


def integer_row(stage: str, model: Artifact, scene: Scene, out: Path, size: int, rest_qp: int) -> Int8Row:
    """Make integers of a model, write both files, and measure what is decoded.

    Raises:
        NerfcompError: A file does not hold the integers.
    """
    integers = of_kind(to_integers(model), RadianceFieldArtifact, "Pictures in integers need")
    name = stage.split()[-1]
    paths = [out / f"{name}{suffix}.nfc" for suffix in ("_plain", "")]
    plain, coded = (write_nfc(file, path) for file, path in zip(both_containers(integers, rest_qp), paths))
    decoded = of_kind(read_nfc(paths[1]), RadianceFieldArtifact, "Views show")
    check_equal(integers, decoded, read_nfc(paths[0]))
    return measured(stage, decoded, scene, out / name, size, plain, coded, entropy_of_weights(integers))


def both_containers(integers: Artifact, rest_qp: int) -> list[Container]:
    """Files with plain and with coded integers."""
    allocation = uniform_allocation(integers, rest_qp)
    return [encode_artifact(integers, allocation, plain_integers=plain) for plain in (True, False)]


def check_equal(integers: Artifact, *decoded: Artifact) -> None:
    """Make sure that files hold the integers that were computed with, bit for bit.

    Raises:
        NerfcompError: One does not.
    """
    for other in decoded:
        theirs = integer_tensors(other.field)
        for name, value in integer_tensors(integers.field).items():
            if not torch.equal(value, theirs[name]):
                raise NerfcompError(f"{name} was not decoded as it was encoded; report this with the checkpoint.")


def measured(
    stage: str,
    trained: RadianceFieldArtifact,
    scene: Scene,
    pictures: Path,
    fp32: int,
    plain: int,
    coded: int,
    entropy: float,
) -> Int8Row:
    """Measure a model on views, keep the pictures, and measure how fast it evaluates points."""
    mean = mean_result(evaluate_views(trained, scene, stage, pictures))
    speed = round(points_per_second(trained))
    ratios = (fp32 / plain, fp32 / coded)
    return Int8Row(stage, mean.psnr, mean.ssim, plain, coded, *ratios, entropy, 1000 * mean.seconds, speed)


def write_results(out: Path, rows: list[Int8Row], scene: Scene) -> None:
    """Write table and picture, and show the table."""
    processor = processor_name()
    write_csv(out / "int8.csv", rows)
    content = {"processor": processor, "views": len(scene.names), "rows": [row._asdict() for row in rows]}
    write_json(out / "int8.json", content)
    write_comparison(out / "int8.png", [out / row.stage.split()[-1] / "000.png" for row in rows])
    logger.info(format_table(list(Int8Row._fields), rows))
    logger.info(
        "%d test views of %dx%d on %s, %d threads. Written to %s",
        *(len(scene.names), scene.camera.width, scene.camera.height, processor, torch.get_num_threads(), out),
    )
