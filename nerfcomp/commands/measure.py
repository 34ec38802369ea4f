"""Quality of files and checkpoints: on the views of a scene, or against a volume."""

import logging
import tempfile
from pathlib import Path
from typing import get_args

import numpy as np

from nerfcomp.artifacts.kinds import of_kind
from nerfcomp.artifacts.nfc import fp32_bytes
from nerfcomp.artifacts.reading import read_artifact, read_scene_artifact
from nerfcomp.artifacts.runs import find_checkpoint
from nerfcomp.artifacts.volume import VolumeArtifact
from nerfcomp.codec import read_container
from nerfcomp.commands.known_scene import scene_of
from nerfcomp.errors import NerfcompError
from nerfcomp.evaluation.published import write_published
from nerfcomp.evaluation.report import format_table, mean_result, write_csv, write_json
from nerfcomp.evaluation.sweep import plot_sweep, run_sweep
from nerfcomp.evaluation.views import evaluate_views, thinned, warn_of_another_scene
from nerfcomp.evaluation.volumes import volume_quality
from nerfcomp.files import refuse_overwrite
from nerfcomp.limits import MOST_ELEMENTS
from nerfcomp.readers import Scene, SceneReader, Split, volume_reader

logger = logging.getLogger("compress")


def evaluate(
    input: Path,
    reader: SceneReader | None = None,
    split: str = "test",
    out: Path | None = None,
    stride: int = 1,
    masked: bool = False,
    trust: bool = False,
    volume: Path | None = None,
    max_elements: int = MOST_ELEMENTS,
    force: bool = False,
) -> None:
    """Measure PSNR and SSIM of a .nfc file (or checkpoint) on the views of a scene, as decoded.

    Args:
        input: The .nfc file, a checkpoint, or the folder of a run.
        reader: The scene; that of the run to which ``input`` belongs when absent.
        split: ``test``, ``val`` or ``train``.
        out: Folder for results.json, per_image.csv and, for benchmarks, nerfbaselines.json and 3dgs_zip.csv; beside the
            file, in a folder of its name, when absent.
        stride: Draw every n-th row and column only, where whole views take too long.
        masked: Measure PSNR inside the masks of the images alone. Nothing is written for benchmarks then.
        trust: Run the native decoder, where it is chosen, without its protective child process.
        volume: The true volume instead of a scene, for the file of one.
        max_elements: Most numbers that a file may decode to; more for large ones that you trust.
        force: Overwrite results that are there.
    """
    file = find_checkpoint(input)
    what = "volume" if volume is not None else f"{split}_masked" if masked else split
    refuse_overwrite((out or file.with_name(f"{file.stem}_{what}")) / "results.json", force)
    if volume is not None:
        evaluate_volume(input, volume, out, trust)
        return
    reader = scene_of(file, reader)
    scene = thinned(read_split(reader, split), stride)
    trained = read_scene_artifact(file, trust, max_elements)
    if masked and not scene.has_alpha:
        raise NerfcompError(f"The views of {scene_name(reader)} have no alpha, so that nothing says what is inside.")
    views = evaluate_views(trained, scene, masked=masked)
    mean = mean_result(views)
    warn_of_another_scene(trained, scene, mean.psnr)
    folder = out or file.with_name(f"{file.stem}_{what}")
    size = file.stat().st_size
    write_json(folder / "results.json", {**mean._asdict(), "bytes": size, "sections": section_bytes(file)})
    write_csv(folder / "per_image.csv", views)
    if not masked:
        write_published(folder, file.name, scene_name(reader), views, size)
    logger.info(format_table(["view", "psnr", "ssim", "seconds"], [*views, ["mean", *mean[1:]]]))
    ratio = f", {fp32_bytes(trained) / size:.1f}x smaller than fp32" if file.suffix == ".nfc" else ""
    logger.info("%s: %s bytes%s. Written to %s", file, f"{size:,}", ratio, folder)


def scene_name(reader: SceneReader) -> str:
    """What the folder of a scene is called; the reader's class where there is none."""
    root = getattr(reader, "root", None)
    return type(reader).__name__ if root is None else Path(root).resolve().stem


def evaluate_volume(input: Path, volume: Path, out: Path | None, trust: bool) -> None:
    """Compare a volume's file with the truth; arguments as of `evaluate`.

    Raises:
        NerfcompError: The file holds no volume, or one of another shape.
    """
    file = find_checkpoint(input)
    trained = of_kind(read_artifact(file, trust), VolumeArtifact, "A volume is compared with")
    truth = volume_reader(volume).read().values
    if truth.shape != trained.info.shape:
        raise NerfcompError(f"{file} decodes to {trained.info.shape} voxels, {volume} has {truth.shape}.")
    folder, size = out or file.with_name(f"{file.stem}_volume"), file.stat().st_size
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(suffix=".npy", dir=folder) as decoded:
        trained.write_npy(decoded.name)
        found = volume_quality(truth, np.load(decoded.name, mmap_mode="r"))
    ratios = {"ratio_stored": trained.info.stored_bytes / size, "ratio_float32": 4 * truth.size / size}
    write_json(folder / "results.json", {**found._asdict(), **ratios, "bytes": size, "sections": section_bytes(file)})
    figures = [found.psnr, found.ssim, found.largest, found.mean, *ratios.values()]
    header = ["file", "psnr", "ssim", "largest error", "mean error", "ratio", "ratio to float32"]
    logger.info(format_table(header, [[str(file), *figures]]))


def sweep(
    input: Path,
    out: Path,
    reader: SceneReader | None = None,
    qps: list[int] = [-36, -32, -28, -24, -20, -16],  # noqa: B006  # never changed
    uniform: bool = False,
    split: str = "test",
) -> None:
    """Measure a rate-distortion curve: encode, decode and evaluate over several QPs.

    Points that ``out`` already holds are kept, so that a sweep that was stopped goes on; those of another checkpoint or
    of other views are refused.

    Args:
        input: Checkpoint of the field, or the folder of a run.
        out: Folder for sweep.csv and sweep.png, and the files themselves.
        reader: The scene; that of the run when absent.
        qps: Qualities to measure.
        uniform: Give every tensor the same QP.
        split: Views to measure on: ``test``, ``val`` or ``train``.
    """
    trained = read_scene_artifact(input)
    scene = read_split(scene_of(find_checkpoint(input), reader), split)
    points = run_sweep(trained, scene, out, qps, uniform)
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
    return {section.name: len(section.data) for section in read_container(file, max_elements=2**62).sections}
