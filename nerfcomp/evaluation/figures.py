"""Figures for papers: a PDF beside every PNG, and views beside their truth with labels, crops and differences."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nerfcomp.files import atomic_write

GAIN = 10  # differences are shown this many times larger
_CROP = 0.3  # part of a side that is shown larger

Rgb = NDArray[np.floating[Any]]


class Column(NamedTuple):
    """A picture of a figure.

    Attributes:
        label: What it shows.
        rgb: (H, W, 3) in [0, 1].
    """

    label: str
    rgb: Rgb


def new_pyplot() -> Any:
    """Load pyplot of matplotlib for drawing without a window."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["pdf.fonttype"] = 42  # text that other programs can edit and search
    from matplotlib import pyplot

    return pyplot


def save_figure(figure: Any, path: Path) -> None:
    """Write a figure as ``path`` and as a PDF of the same name beside it, and close it.

    Args:
        figure: Of matplotlib.
        path: A PNG.
    """
    for target in (path, path.with_suffix(".pdf")):
        drawn = io.BytesIO()  # a disk that is full while matplotlib writes a PDF ends in an error of matplotlib's own
        figure.savefig(drawn, format=target.suffix[1:])
        with atomic_write(target) as temporary:
            temporary.write_bytes(drawn.getvalue())
    new_pyplot().close(figure)


def psnr_of(rgb: Rgb, truth: Rgb) -> float:
    """PSNR in dB of values in [0, 1]; infinite where they are equal."""
    error = float(np.square(rgb.astype(np.float64).clip(0, 1) - truth).mean())
    return float("inf") if error == 0 else float(-10 * np.log10(error))


def busiest_crop(truth: Rgb) -> tuple[slice, slice]:
    """Rows and columns of the part of a picture whose brightness changes most, a third of each side.

    >>> truth = np.zeros((10, 10, 3)); truth[1::2, 6:] = 1.0
    >>> busiest_crop(truth)[1]
    slice(6, 9, None)
    """
    grey = truth.astype(np.float64).mean(-1)
    change = np.abs(np.diff(grey, axis=0, append=grey[-1:])) + np.abs(np.diff(grey, axis=1, append=grey[:, -1:]))
    height, width = (max(1, round(_CROP * side)) for side in grey.shape)
    table = np.pad(change.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    sums = table[height:, width:] - table[:-height, width:] - table[height:, :-width] + table[:-height, :-width]
    top, left = np.unravel_index(int(sums.argmax()), sums.shape)
    return slice(int(top), int(top) + height), slice(int(left), int(left) + width)


def write_views(path: Path, truth: Rgb, columns: Sequence[Column]) -> None:
    """Draw a view's truth beside renderings of it: whole, a crop, and the difference times `GAIN` about grey.

    Args:
        path: PNG to write; a PDF goes beside it.
        truth: (H, W, 3) in [0, 1].
        columns: Renderings of the same size.
    """
    pyplot, (rows, across) = new_pyplot(), busiest_crop(truth)
    every = [Column("truth", truth), *columns]
    height, width = truth.shape[:2]
    size = (2.4 * len(every), 2.4 * height / width * 3 + 0.7)
    figure, plots = pyplot.subplots(3, len(every), figsize=size, dpi=150, layout="constrained", squeeze=False)
    for column, (label, rgb) in enumerate(every):
        whole, crop, difference = plots[:, column]
        figures = "" if column == 0 else f"\n{psnr_of(rgb, truth):.2f} dB"
        whole.set_title(f"{label}{figures}", fontsize=9)
        whole.imshow(rgb.clip(0, 1), interpolation="nearest")
        corner = (across.start - 0.5, rows.start - 0.5)
        frame = pyplot.Rectangle(corner, across.stop - across.start, rows.stop - rows.start, fill=False, color="red")
        whole.add_patch(frame)
        crop.imshow(rgb[rows, across].clip(0, 1), interpolation="nearest")
        if column:
            difference.imshow((0.5 + GAIN * (rgb - truth)).clip(0, 1), interpolation="nearest")
            difference.set_title(f"difference x {GAIN}", fontsize=8)
    for axes in plots.flat:
        axes.set(xticks=[], yticks=[])
    plots[2, 0].set_axis_off()
    save_figure(figure, path)
