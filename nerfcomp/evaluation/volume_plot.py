"""Pictures of a decoded volume beside the true one."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nerfcomp.evaluation.figures import new_pyplot, save_figure
from nerfcomp.evaluation.volumes import ErrorHistogram
from nerfcomp.readers.volume import ValueRange, forget_pages

_PIXELS = 768  # longest side of a slice; larger ones are thinned
_ROWS = 64  # of a slice that are copied at a time


class RatePoint(NamedTuple):
    """One file of a curve."""

    ratio: float  # bytes of float32 values over bytes of the file
    psnr: float  # dB


def plot_slices(truth: NDArray[Any], decoded: NDArray[Any], limits: ValueRange, path: Path) -> None:
    """Draw the middle slices across x, y and z: true, decoded and error, side by side.

    Args:
        truth: (X, Y, Z) true values.
        decoded: (X, Y, Z) decoded ones.
        limits: Range of the true values, of the grey scale.
        path: PNG to write.
    """
    pyplot = new_pyplot()
    figure, plots = pyplot.subplots(3, 3, figsize=(11.0, 10.0), dpi=110, layout="constrained")
    for axis, row in enumerate(plots):
        first, second = (middle_slice(values, axis).astype(np.float64) for values in (truth, decoded))
        error = second - first
        reach = max(float(np.abs(error).max()), 1e-30)
        pictures = ((first, "gray", *limits), (second, "gray", *limits), (error, "RdBu_r", -reach, reach))
        for axes, (values, colors, low, high), name in zip(row, pictures, ("true", "decoded", "error"), strict=True):
            shown = axes.imshow(values.T, cmap=colors, vmin=low, vmax=high, origin="lower", interpolation="nearest")
            axes.set(xticks=[], yticks=[], title=f"{name}, middle {'xyz'[axis]}")
            if axes is not row[0]:
                figure.colorbar(shown, ax=axes, shrink=0.8)
    save_figure(figure, path)


def plot_errors(histogram: ErrorHistogram, path: Path) -> None:
    """Draw how many voxels have which error, as a PNG."""
    pyplot = new_pyplot()
    figure, axes = pyplot.subplots(figsize=(6.4, 4.0), dpi=120, layout="constrained")
    axes.stairs(histogram.counts, histogram.edges, fill=True)
    axes.set(xlabel="decoded - true", ylabel="voxels", yscale="log", title="Errors of all voxels")
    axes.grid(alpha=0.3)
    save_figure(figure, path)


def plot_rates(
    curves: Mapping[str, Mapping[str, Sequence[RatePoint]]], path: Path, scattered: Collection[str] = ()
) -> None:
    """Draw PSNR over compression ratio, a picture per volume and a curve per codec, as one PNG.

    Args:
        curves: Points by volume and codec.
        path: PNG to write.
        scattered: Codecs whose points are no curve.
    """
    pyplot = new_pyplot()
    figure, plots = pyplot.subplots(
        1, len(curves), figsize=(5.0 * len(curves), 4.2), dpi=120, layout="constrained", squeeze=False
    )
    for axes, (volume, codecs) in zip(plots[0], curves.items(), strict=True):
        for codec, points in codecs.items():
            ordered = sorted(points)
            ratios, values = [p.ratio for p in ordered], [p.psnr for p in ordered]
            line, marker = ("", "o") if codec in scattered else ("-", ".")
            axes.plot(ratios, values, linestyle=line, marker=marker, label=codec)
        axes.set(xscale="log", xlabel="ratio against float32", ylabel="PSNR (dB)", title=volume)
        axes.grid(alpha=0.3, which="both")
        axes.legend()
    save_figure(figure, path)


def middle_slice(values: NDArray[Any], axis: int) -> NDArray[Any]:
    """A copy of the slice in the middle of one axis, thinned to at most 768 pixels a side.

    Across the axis that is stored fastest it lies on every page of a memory map, so pages are given back on the way.

    >>> middle_slice(np.arange(8).reshape(2, 2, 2), 0)
    array([[4, 5],
           [6, 7]])
    """
    index: list[slice | int] = [slice(None)] * 3
    index[axis] = values.shape[axis] // 2
    plane = values[tuple(index)]
    every = -(-max(plane.shape) // _PIXELS)
    parts = []
    for start in range(0, len(plane), every * _ROWS):
        parts.append(np.array(plane[start : start + every * _ROWS : every, ::every]))
        forget_pages(values)
    return np.concatenate(parts)
