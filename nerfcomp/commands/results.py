"""Subcommands that look at what runs have left behind."""

import logging
from pathlib import Path

from nerfcomp.evaluation.bdrate import bd_rate, read_curve
from nerfcomp.evaluation.report import format_table
from nerfcomp.evaluation.result_file import LISTS, read_record
from nerfcomp.evaluation.result_plot import Layout, plot_record

logger = logging.getLogger("compress")


def plot(
    input: Path,
    start: int = 0,
    end: int | None = None,
    average: int | None = None,
    layout: Layout = "horizontal",
    max_points: int = 100_000,
    out: Path | None = None,
) -> None:
    """Check the result.txt of a tuning run and draw its PSNR and loss as result.png beside it.

    Args:
        input: The result.txt, or the folder of the run.
        start: First iteration drawn, from 0.
        end: Iteration after the last one drawn; all when absent.
        average: Iterations averaged into one point; when absent, 100, or a tenth of ranges shorter than 1,000.
        layout: The two curves side by side, or one above the other.
        max_points: Refuse to draw more points than this.
        out: Picture to write instead.
    """
    path = input / "result.txt" if input.is_dir() else input
    record = read_record(path)
    for name in LISTS:
        entries = [entry for entry in record.bad if entry.name == name]
        found = f"{len(entries)} bad entries" if entries else "no anomalies"
        logger.info("%s: %d iterations, %s", name, len(getattr(record, name)), found)
        for entry in entries:
            logger.info("  %s", entry)
    picture = out or path.with_suffix(".png")
    if average is None:
        average = max(1, min(100, ((len(record.psnr) if end is None else end) - start) // 10))
    curve = plot_record(record, picture, start, end, average, layout, max_points)
    logger.info("Written to %s: %d points, means of %d iterations.", picture, len(curve.values), average)
    if curve.dropped:
        logger.info("The last %d iterations of the range fill no window and are not drawn.", curve.dropped)


def bdrate(first: Path, second: Path) -> None:
    """Compare two rate-distortion curves: bytes saved at equal PSNR.

    Below 0, the second needs fewer than the first.

    Args:
        first: sweep.csv of the curve to compare with.
        second: sweep.csv of the curve in question.
    """
    curves = [read_curve(path) for path in (first, second)]
    saving = bd_rate(*curves)
    ends = [(min(point.psnr for point in curve), max(point.psnr for point in curve)) for curve in curves]
    rows = [[str(path), len(curve), *end] for path, curve, end in zip((first, second), curves, ends)]
    logger.info(format_table(["curve", "points", "from dB", "to dB"], rows))
    logger.info("BD-rate %+.2f %% from %.2f to %.2f dB", saving.percent, saving.low, saving.high)
