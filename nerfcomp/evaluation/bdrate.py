"""How many bytes one rate-distortion curve saves against another (Bjontegaard delta rate).

Bjontegaard, "Calculation of average PSNR differences between RD-curves", VCEG-M33 (2001), with piecewise cubic
interpolation (PCHIP: Fritsch and Carlson, "Monotone piecewise cubic interpolation", 1980), which unlike one cubic
through all points does not swing between them.

Notation: a curve is ``y = ln(bytes)`` as a function of ``x = PSNR``.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nerfcomp.errors import NerfcompError
from nerfcomp.evaluation.sweep import read_points

_LEAST_POINTS = 3


class RatePoint(NamedTuple):
    """One point of a rate-distortion curve."""

    bytes: float
    psnr: float  # dB


class Saving(NamedTuple):
    """What a second curve saves against a first."""

    percent: float  # mean difference of the bytes at equal PSNR; negative: the second curve needs less
    low: float  # dB, where both curves begin to have points
    high: float  # dB, where one of them ends


def bd_rate(first: Sequence[RatePoint], second: Sequence[RatePoint]) -> Saving:
    """Compare two curves over the PSNRs that both reach.

    Args:
        first: Points of the curve to compare with, in any order, three or more.
        second: Points of the curve in question, likewise.

    Returns:
        Mean difference of the logarithm of bytes, as percent, and the range of PSNR it was taken over.

    Raises:
        NerfcompError: Too few points, two of one PSNR, a size that is not positive, or curves without common PSNRs.

    >>> curve = [RatePoint(1000.0, 20.0), RatePoint(2000.0, 25.0), RatePoint(4000.0, 29.0)]
    >>> saving = bd_rate(curve, [RatePoint(0.8 * size, psnr) for size, psnr in curve])
    >>> round(saving.percent, 6), saving.low, saving.high
    (-20.0, 20.0, 29.0)
    """
    (x1, y1), (x2, y2) = _curve(first), _curve(second)
    low, high = max(x1[0], x2[0]), min(x1[-1], x2[-1])
    if low >= high:
        raise NerfcompError(
            f"The curves do not overlap: one reaches {x1[0]:.2f} to {x1[-1]:.2f} dB, the other {x2[0]:.2f} to "
            f"{x2[-1]:.2f} dB. Measure QPs at which both reach the same PSNRs."
        )
    from scipy.interpolate import PchipInterpolator  # here, as it is slow to import

    area1, area2 = (float(PchipInterpolator(x, y).integrate(low, high)) for x, y in ((x1, y1), (x2, y2)))
    mean = (area2 - area1) / (high - low)
    return Saving(100 * float(np.expm1(mean)), float(low), float(high))


def read_curve(path: Path) -> list[RatePoint]:
    """Read the encoded points of a sweep's CSV.

    Raises:
        NerfcompError: There is no such file.
        ValueError: It is no sweep.
    """
    if not path.exists():
        raise NerfcompError(f"There is no sweep at {path}. `python compress.py sweep` writes one.")
    return [RatePoint(float(p.bytes), p.psnr) for p in read_points(path).values() if p.qp != "fp32"]


def _curve(points: Sequence[RatePoint]) -> tuple[np.ndarray, np.ndarray]:
    """PSNR and logarithm of bytes, by rising PSNR."""
    if len(points) < _LEAST_POINTS:
        raise NerfcompError(f"A curve needs at least {_LEAST_POINTS} points, got {len(points)}. Measure more QPs.")
    table = np.array(sorted((psnr, size) for size, psnr in points))
    if (np.diff(table[:, 0]) <= 0).any() or not np.isfinite(table).all() or (table[:, 1] <= 0).any():
        raise NerfcompError("A curve needs points of different PSNR and of positive sizes. Remove double points.")
    return table[:, 0], np.log(table[:, 1])
