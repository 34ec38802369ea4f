"""How many bytes one rate-distortion curve saves against another (Bjontegaard delta rate).

Bjontegaard, "Calculation of average PSNR differences between RD-curves", VCEG-M33 (2001), with piecewise cubic
interpolation (PCHIP: Fritsch and Carlson, "Monotone piecewise cubic interpolation", 1980), which unlike one cubic
through all points does not swing between them.

Notation: a curve is ``y = ln(bytes)`` as a function of ``x = PSNR``; ``h`` are the distances of neighbouring ``x``,
``s`` the slopes of the chords between them, ``d`` the derivatives at the points.
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
    mean = (integral(x2, y2, low, high) - integral(x1, y1, low, high)) / (high - low)
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


def slopes(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Derivatives of the piecewise cubic through points, chosen so that it is monotone wherever the points are.

    Args:
        x: (P,) ascending, P >= 3.
        y: (P,).

    Returns:
        (P,): inside a weighted harmonic mean of the chords' slopes, 0 at an extreme point; from three points at the
        ends.

    >>> slopes(np.array([0.0, 1.0, 2.0]), np.array([0.0, 1.0, 1.0])).tolist()
    [1.5, 0.0, 0.0]
    """
    h, s = np.diff(x), np.diff(y) / np.diff(x)
    d = np.zeros(len(x))
    same = np.flatnonzero(s[:-1] * s[1:] > 0)
    w1, w2 = 2 * h[same + 1] + h[same], h[same + 1] + 2 * h[same]
    d[same + 1] = (w1 + w2) / (w1 / s[same] + w2 / s[same + 1])
    d[0], d[-1] = _end_slope(h[0], h[1], s[0], s[1]), _end_slope(h[-1], h[-2], s[-1], s[-2])
    return d


def integral(x: np.ndarray, y: np.ndarray, low: float, high: float) -> float:
    """Integrate the piecewise cubic through points.

    Args:
        x: (P,) ascending, P >= 3.
        y: (P,).
        low: Lower limit, within ``x``.
        high: Upper limit, within ``x``.

    >>> integral(np.array([0.0, 1.0, 3.0]), np.array([1.0, 2.0, 4.0]), 1.0, 2.0)
    2.5
    """
    d, h = slopes(x, y), np.diff(x)
    chord = np.diff(y) / h
    c2, c3 = (3 * chord - 2 * d[:-1] - d[1:]) / h, (d[:-1] + d[1:] - 2 * chord) / h**2

    def primitive(t: np.ndarray) -> np.ndarray:
        value: np.ndarray = t * (y[:-1] + t * (d[:-1] / 2 + t * (c2 / 3 + t * c3 / 4)))
        return value

    begin, end = np.clip(low - x[:-1], 0, h), np.clip(high - x[:-1], 0, h)
    return float((primitive(end) - primitive(begin)).sum())


def _end_slope(h0: float, h1: float, s0: float, s1: float) -> float:
    """Derivative at an end from its two nearest chords, bent back where it would break monotony."""
    d = ((2 * h0 + h1) * s0 - h0 * s1) / (h0 + h1)
    if d * s0 <= 0:
        return 0.0
    return 3 * s0 if s0 * s1 <= 0 and abs(d) > 3 * abs(s0) else d


def _curve(points: Sequence[RatePoint]) -> tuple[np.ndarray, np.ndarray]:
    """PSNR and logarithm of bytes, by rising PSNR."""
    if len(points) < _LEAST_POINTS:
        raise NerfcompError(f"A curve needs at least {_LEAST_POINTS} points, got {len(points)}. Measure more QPs.")
    table = np.array(sorted((psnr, size) for size, psnr in points))
    if (np.diff(table[:, 0]) <= 0).any() or not np.isfinite(table).all() or (table[:, 1] <= 0).any():
        raise NerfcompError("A curve needs points of different PSNR and of positive sizes. Remove double points.")
    return table[:, 0], np.log(table[:, 1])
