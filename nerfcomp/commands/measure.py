"""Quality of files and checkpoints on the views of a scene."""

import logging
from pathlib import Path
from typing import get_args

from nerfcomp.artifacts.nfc import fp32_bytes
from nerfcomp.artifacts.reading import read_scene_artifact
from nerfcomp.artifacts.runs import find_checkpoint
from nerfcomp.codec import read_container
from nerfcomp.errors import NerfcompError
from nerfcomp.evaluation.report import format_table, mean_result, write_csv, write_json
from nerfcomp.evaluation.sweep import plot_sweep, run_sweep
from nerfcomp.evaluation.views import evaluate_views, thinned
from nerfcomp.readers import Scene, SceneReader, Split

logger = logging.getLogger("compress")


def evaluate(
    input: Path,
    reader: SceneReader,
    split: str = "test",
    out: Path | None = None,
    stride: int = 1,
    trust: bool = False,
) -> None:
    """Measure PSNR and SSIM of a .nfc file (or checkpoint) on the views of a scene, as decoded.

    Args:
        input: The .nfc file, a checkpoint, or the folder of a run.
        reader: The scene.
        split: ``test``, ``val`` or ``train``.
        out: Folder for results.json and per_image.csv; beside the file, in a folder of its name, when absent.
        stride: Draw every n-th row and column only, where whole views take too long.
        trust: Run the native decoder without its protective child process.
    """
    views_of_split = read_split(reader, split)
    file = find_checkpoint(input)
    trained = read_scene_artifact(file, trust)
    views = evaluate_views(trained, thinned(views_of_split, stride))
    mean = mean_result(views)
    folder = out or file.with_name(f"{file.stem}_{split}")
    size = file.stat().st_size
    write_json(folder / "results.json", {**mean._asdict(), "bytes": size, "sections": section_bytes(file)})
    write_csv(folder / "per_image.csv", views)
    logger.info(format_table(["view", "psnr", "ssim", "seconds"], [*views, ["mean", *mean[1:]]]))
    ratio = f", {fp32_bytes(trained) / size:.1f}x smaller than fp32" if file.suffix == ".nfc" else ""
    logger.info("%s: %s bytes%s. Written to %s", file, f"{size:,}", ratio, folder)


def sweep(
    input: Path,
    reader: SceneReader,
    out: Path,
    qps: list[int] = [-36, -32, -28, -24, -20, -16],  # noqa: B006  # never changed
    uniform: bool = False,
    split: str = "test",
) -> None:
    """Measure a rate-distortion curve: encode, decode and evaluate over several QPs.

    Points that ``out`` already holds are kept, so that a sweep that was stopped goes on; those of another checkpoint or
    of other views are refused.

    Args:
        input: Checkpoint of the field, or the folder of a run.
        reader: The scene.
        out: Folder for sweep.csv and sweep.png, and the files themselves.
        qps: Qualities to measure.
        uniform: Give every tensor the same QP.
        split: Views to measure on: ``test``, ``val`` or ``train``.
    """
    trained = read_scene_artifact(input)
    points = run_sweep(trained, read_split(reader, split), out, qps, uniform)
    plot_sweep(points, out / "sweep.png")
    logger.info(format_table(["qp", "bytes", "ratio", "psnr", "ssim"], [point[:5] for point in points]))
    logger.info("Written to %s and %s", out / "sweep.csv", out / "sweep.png")


def read_split(reader: SceneReader, split: str) -> Scene:
    """Read the views of a split that a person has named.

    Raises:
        NerfcompError: There is no such split.
    """
    if split not in get_args(Split):
        raise NerfcompError(f"split is {split!r}; allowed are train, val and test.")
    return reader.read(split)  # type: ignore[arg-type]


def section_bytes(file: Path) -> dict[str, int]:
    """Bytes of each section of a .nfc file; nothing for other files."""
    if file.suffix != ".nfc":
        return {}
    return {section.name: len(section.data) for section in read_container(file).sections}
