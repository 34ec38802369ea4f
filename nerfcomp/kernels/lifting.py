"""A wavelet transform of volumes of any shape, in as many numbers as there are voxels.

Long axes are split by the wavelets CDF 9/7, in place by lifting; what is shorter than 8 by one cosine transform
(DCT-II, orthonormal), so that thin slabs are treated well and errors of all coefficients count nearly alike.

Source: Cohen, Daubechies and Feauveau, "Biorthogonal bases of compactly supported wavelets" (1992); lifting and its
constants after Daubechies and Sweldens, "Factoring wavelet transforms into lifting steps" (1998), as in JPEG 2000. Ends
are mirrored about their last value.

Notation: a *box* is what a level transforms: the volume, then the low part of the box before. Coefficients lie where
the parts do: low ones first along every axis (Mallat's layout).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

ALPHA, BETA, GAMMA, DELTA = -1.586134342059924, -0.052980118572961, 0.882911075530934, 0.443506852043971
SCALE = 1.149604398860241  # of low values, and its inverse of high ones: the transform nearly keeps energy
LEAST = 8  # values along an axis that wavelets split


def boxes(shape: Sequence[int]) -> NDArray[np.int64]:
    """Sizes of the boxes, (L + 1, 3): the volume's own first, then halves rounded up, last a single value.

    >>> boxes((17, 8, 2)).tolist()
    [[17, 8, 2], [9, 4, 1], [5, 1, 1], [1, 1, 1]]
    """
    found = [tuple(shape)]
    while max(found[-1]) > 1:
        found.append(tuple((n + 1) // 2 if n >= LEAST else 1 for n in found[-1]))
    return np.array(found, np.int64)


def analyse(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Coefficients of a volume.

    Args:
        values: (X, Y, Z).

    Returns:
        (X, Y, Z) coefficients; squared errors of them add up to nearly those of values.

    >>> analyse(np.ones((4, 4, 1), np.float32)).round(3)[:, :, 0].tolist()[0]
    [4.0, 0.0, 0.0, 0.0]
    """
    out = values.astype(np.float32, copy=True)
    for box in boxes(values.shape)[:-1]:
        part = out[: box[0], : box[1], : box[2]]
        for axis in range(3):
            if box[axis] > 1:
                _split(np.moveaxis(part, axis, 0))
    return out


def synthesise(coefficients: NDArray[np.float32]) -> NDArray[np.float32]:
    """Values of coefficients: the inverse of `analyse`, up to rounding.

    >>> values = np.random.default_rng(0).normal(size=(5, 3, 2)).astype(np.float32)
    >>> bool(np.allclose(synthesise(analyse(values)), values, atol=1e-5))
    True
    """
    out = coefficients.astype(np.float32, copy=True)
    for box in boxes(coefficients.shape)[-2::-1]:
        part = out[: box[0], : box[1], : box[2]]
        for axis in (2, 1, 0):
            if box[axis] > 1:
                _merge(np.moveaxis(part, axis, 0))
    return out


def _split(line: NDArray[np.float32]) -> None:
    """Replace values along the first axis by low ones, then high ones."""
    if len(line) < LEAST:
        line[:] = np.tensordot(_cosines(len(line)), line, 1)
        return
    low, high = line[0::2].copy(), line[1::2].copy()
    _lift_high(high, low, ALPHA)
    _lift_low(low, high, BETA)
    _lift_high(high, low, GAMMA)
    _lift_low(low, high, DELTA)
    line[: len(low)] = low * np.float32(SCALE)
    line[len(low) :] = high * np.float32(1 / SCALE)


def _merge(line: NDArray[np.float32]) -> None:
    """Take `_split` back."""
    if len(line) < LEAST:
        line[:] = np.tensordot(_cosines(len(line)).T, line, 1)
        return
    half = (len(line) + 1) // 2
    low, high = line[:half] * np.float32(1 / SCALE), line[half:] * np.float32(SCALE)
    _lift_low(low, high, -DELTA)
    _lift_high(high, low, -GAMMA)
    _lift_low(low, high, -BETA)
    _lift_high(high, low, -ALPHA)
    line[0::2] = low
    line[1::2] = high


def _cosines(n: int) -> NDArray[np.float32]:
    """The DCT-II of n values, (n, n), orthonormal."""
    angles = np.pi / n * np.outer(np.arange(n), np.arange(n) + 0.5)
    rows = np.cos(angles) * np.sqrt(2.0 / n)
    rows[0] = np.sqrt(1.0 / n)
    matrix: NDArray[np.float32] = rows.astype(np.float32)
    return matrix


def _lift_high(high: NDArray[np.float32], low: NDArray[np.float32], weight: float) -> None:
    """Add both low neighbours to every high value."""
    n = len(high)
    high += np.float32(weight) * low[:n]
    high[: len(low) - 1] += np.float32(weight) * low[1 : n + 1]
    if len(low) == n:
        high[-1] += np.float32(weight) * low[-1]


def _lift_low(low: NDArray[np.float32], high: NDArray[np.float32], weight: float) -> None:
    """Add both high neighbours to every low value."""
    n = len(high)
    low[:n] += np.float32(weight) * high
    low[1:] += np.float32(weight) * high[: len(low) - 1]
    low[0] += np.float32(weight) * high[0]
    if len(low) > n:
        low[-1] += np.float32(weight) * high[-1]
