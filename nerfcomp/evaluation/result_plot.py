"""Curves of a tuning run: PSNR and loss over the iterations."""

from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from nerfcomp.errors import NerfcompError
from nerfcomp.evaluation.figures import new_pyplot, save_figure
from nerfcomp.evaluation.result_file import TuningRecord

Layout = Literal["horizontal", "vertical"]


class Curve(NamedTuple):
    """Averages over windows of iterations."""

    iterations: np.ndarray  # (p,) int64, the last one of each window, counted from 1
    values: np.ndarray  # (p,) means, NaN where a whole window is bad
    dropped: int  # iterations at the end that fill no window


def averaged(values: np.ndarray, start: int, end: int | None, window: int) -> Curve:
    """Average a range of iterations.

    Args:
        values: (n,) of every iteration; NaN are left out of the averages.
        start: First iteration of the range, from 0.
        end: Iteration after the last one; all of them when absent.
        window: Iterations averaged into one point.

    Returns:
        The curve.

    Raises:
        NerfcompError: The range is empty or shorter than the window.

    >>> averaged(np.array([1.0, 3.0, 5.0, 7.0, 9.0]), 0, None, 2)
    Curve(iterations=array([2, 4]), values=array([2., 6.]), dropped=1)
    """
    stop = len(values) if end is None else min(end, len(values))
    if not 0 <= start < stop:
        raise NerfcompError(f"The range from {start} to {end} holds none of the {len(values)} iterations.")
    if not 1 <= window <= stop - start:
        raise NerfcompError(
            f"Cannot average {window} iterations at a time: the range holds {stop - start}. Choose --average from 1 to "
            f"{stop - start}."
        )
    points = (stop - start) // window
    rows = values[start : start + points * window].reshape(points, window)
    counts = np.isfinite(rows).sum(axis=1)
    means = np.where(counts > 0, np.nansum(rows, axis=1) / np.maximum(counts, 1), np.nan)
    return Curve(start + window * np.arange(1, points + 1), means, stop - start - points * window)


def plot_record(
    record: TuningRecord,
    path: Path,
    start: int = 0,
    end: int | None = None,
    window: int = 100,
    layout: Layout = "horizontal",
    max_points: int = 100_000,
) -> Curve:
    """Draw PSNR and loss as one PNG.

    Args:
        record: What was recorded.
        path: PNG to write.
        start: First iteration drawn.
        end: Iteration after the last one drawn; all when absent.
        window: Iterations averaged into one point.
        layout: The two curves side by side, or one above the other.
        max_points: Refuse to draw more points than this.

    Returns:
        The curve of PSNR.

    Raises:
        NerfcompError: Nothing to draw, or too much.
    """
    curves = [averaged(values, start, end, window) for values in (record.psnr, record.loss)]
    if len(curves[0].values) > max_points:
        raise NerfcompError(
            f"There are {len(curves[0].values):,} points to draw, more than {max_points:,}. Average over more "
            "iterations (--average), take a shorter range, or raise --max_points."
        )
    pyplot = new_pyplot()
    rows, columns = (1, 2) if layout == "horizontal" else (2, 1)
    size = (11.0, 4.0) if layout == "horizontal" else (6.4, 7.5)
    figure, plots = pyplot.subplots(rows, columns, figsize=size, dpi=120, layout="constrained")
    label = "iteration" if window == 1 else f"iteration (means of {window})"
    for axes, curve, name in zip(plots, curves, ("PSNR of the training rays (dB)", "loss")):
        axes.plot(curve.iterations, curve.values, linewidth=1, marker="." if len(curve.values) < 50 else "")
        axes.set(xlabel=label, ylabel=name, title=name.partition(" (")[0])
        axes.grid(alpha=0.3)
    save_figure(figure, path)
    return curves[0]
