"""What ``compress.py volume`` leaves behind: options, figures, pictures, files for ParaView."""

import csv
import json
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nerfcomp.artifacts.volume import VolumeArtifact
from nerfcomp.errors import VolumeError
from nerfcomp.evaluation.report import format_table, write_json
from nerfcomp.evaluation.volume_plot import plot_errors, plot_slices
from nerfcomp.evaluation.volumes import error_histogram, file_ratio, volume_quality
from nerfcomp.exchange.volumes import write_vti
from nerfcomp.readers import ValueRange, Volume

logger = logging.getLogger("compress")
_SSIM_VOXELS = 1 << 26  # beyond which SSIM looks at some slabs only
_CURVE = ("volume", "bytes", "float32_ratio", "stored_ratio", "psnr", "ssim", "largest_error", "seconds")


class VolumeOptions(NamedTuple):
    """What a run was asked for; ``target_bytes`` and ``steps`` are decided before training starts."""

    input: Path
    target_ratio: float | None = None
    target_bytes: int | None = None
    min_psnr: float | None = None
    method: str = "auto"
    minutes: float = 15.0
    steps: int | None = None
    seed: int = 0
    dataset: str | None = None
    axes: str | None = None
    spacing: tuple[float, float, float] | None = None
    origin: tuple[float, float, float] | None = None
    dtype: str | None = None
    shape: tuple[int, int, int] | None = None
    byte_order: str | None = None
    offset: int | None = None


class Results(NamedTuple):
    """A decoded volume beside the true one.

    Attributes:
        folder: Of the run.
        truth: The volume.
        decoded: Memory-mapped.
        figures: What ``results.json`` holds.
    """

    folder: Path
    truth: Volume
    decoded: NDArray[Any]
    figures: dict[str, Any]

    def finish(self, vti: bool, curve: Path | None, options: VolumeOptions) -> Mapping[str, Any]:
        """Write pictures, table and what else was asked for; the decoded values are gone afterwards."""
        limits = ValueRange(self.figures["low"], self.figures["high"])
        plot_slices(self.truth.values, self.decoded, limits, self.folder / "slices.png")
        histogram = error_histogram(self.truth.values, self.decoded, self.figures["largest_error"])
        plot_errors(histogram, self.folder / "errors.png")
        if vti:
            decoded = self.truth._replace(values=self.decoded)
            write_vti(self.folder / "volume.vti", decoded, {f"{self.truth.name} (true)": self.truth.values})
        write_json(self.folder / "results.json", self.figures)
        if curve is not None:
            add_row(curve, {**self.figures, "volume": Path(options.input).stem})
        (self.folder / "decoded.npy").unlink()
        if options.min_psnr is not None and self.figures["psnr"] < options.min_psnr:
            logger.warning("%.2f dB is less than --min_psnr; give more --minutes.", self.figures["psnr"])
        return self.figures


def write_options(folder: Path, options: VolumeOptions) -> None:
    """Keep what a resumed run needs."""
    write_json(folder / "options.json", {**options._asdict(), "input": str(options.input)})


def read_options(folder: Path) -> VolumeOptions:
    """What the run in a folder was asked for.

    Raises:
        VolumeError: There is no run.
    """
    path = folder / "options.json"
    if not path.exists():
        raise VolumeError(f"There is no run to resume in {folder}. Leave --resume out to start one.")
    content = json.loads(path.read_text())
    triples = {name: tuple(content[name]) for name in ("spacing", "origin", "shape") if content[name] is not None}
    return VolumeOptions(**{**content, **triples, "input": Path(content["input"])})


def measure(truth: Volume, trained: VolumeArtifact, out: Path, folder: Path, more: Mapping[str, Any]) -> Results:
    """Decode a file to disk and compare.

    Args:
        truth: The volume.
        trained: What was read from ``out``.
        out: The file.
        folder: Of the run.
        more: Further figures.
    """
    started = time.perf_counter()
    trained.write_npy(folder / "decoded.npy")
    decode_s = time.perf_counter() - started
    decoded = np.load(folder / "decoded.npy", mmap_mode="r")
    quality = volume_quality(truth.values, decoded, ssim_every=-(-truth.values.size // _SSIM_VOXELS))
    size = out.stat().st_size
    ratio = file_ratio(truth.values, size)
    figures = {
        "bytes": size,
        "stored_ratio": ratio.stored,
        "float32_ratio": ratio.float32,
        "psnr": quality.psnr,
        "ssim": quality.ssim,
        "largest_error": quality.largest,
        "mean_error": quality.mean,
        "rmse": quality.rmse,
        "low": quality.low,
        "high": quality.high,
        "decode_s": decode_s,
        **more,
    }
    return Results(folder, truth, decoded, figures)


def add_row(path: Path, figures: Mapping[str, Any]) -> None:
    """Add a row to a CSV, with a head when it is the first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    first = not path.exists()
    with open(path, "a", newline="") as file:
        writer = csv.writer(file)
        if first:
            writer.writerow(_CURVE)
        writer.writerow([figures[name] for name in _CURVE])


def show(out: Path, figures: Mapping[str, Any]) -> None:
    """Log the table at the end."""
    header = ["file", "bytes", "ratio (stored)", "ratio (float32)", "PSNR", "SSIM", "largest error", "mean error"]
    names = ("bytes", "stored_ratio", "float32_ratio", "psnr", "ssim", "largest_error", "mean_error")
    logger.info(format_table(header, [[str(out), *(figures[name] for name in names)]]))
    logger.info("Method: %s", figures["method"])
    logger.info("%d steps, %.0f s; decoded in %.1f s", figures["steps"], figures["seconds"], figures["decode_s"])
    logger.info("Pictures and results.json are in %s", out.with_suffix(".run"))
