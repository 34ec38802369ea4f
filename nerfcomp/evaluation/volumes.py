"""Error of a decoded volume, slab by slab, so that both volumes may be memory maps larger than memory."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate1d

from nerfcomp.errors import VolumeError
from nerfcomp.readers.volume import SLAB_BYTES, ValueRange, forget_pages, slabs, stored_slabs, value_range

WINDOW, SIGMA = 11, 1.5  # voxels, of the Gaussian window of SSIM
_C1, _C2 = 0.01**2, 0.03**2  # of Wang et al. 2004, for values that span 1


class VolumeQuality(NamedTuple):
    """How a decoded volume differs from the true one.

    Attributes:
        psnr: ``10 log10(range^2 / MSE)`` in dB, with the range of the true values; infinite when nothing differs.
        ssim: Mean structural similarity over 3-D windows, see `volume_ssim`.
        largest: Largest absolute error, in physical units.
        mean: Mean absolute error.
        rmse: Root of the mean squared error.
        low: Smallest true value.
        high: Largest true value.
    """

    psnr: float
    ssim: float
    largest: float
    mean: float
    rmse: float
    low: float
    high: float


class FileRatio(NamedTuple):
    """Whole bytes of a volume's values over those of its file.

    Attributes:
        stored: Against the type that the volume is stored in.
        float32: Against float32, whatever the stored type; what publications usually give.
    """

    stored: float
    float32: float


class ErrorHistogram(NamedTuple):
    """Signed errors, decoded minus true.

    Attributes:
        edges: (N + 1,) limits of the bins, in physical units.
        counts: (N,) voxels.
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.int64]


def file_ratio(values: NDArray[Any], file_bytes: int) -> FileRatio:
    """Compression ratios of a volume.

    >>> file_ratio(np.zeros((4, 4, 4), np.uint8), 16)
    FileRatio(stored=4.0, float32=16.0)
    """
    return FileRatio(values.nbytes / file_bytes, 4.0 * values.size / file_bytes)


def psnr_of(mse: float, span: float) -> float:
    """``10 log10(span^2 / MSE)`` in dB; infinite without error.

    >>> psnr_of(0.0004, 2.0)
    40.0
    """
    return math.inf if mse == 0 else 10.0 * math.log10(max(span**2 / mse, 1e-30))


def volume_quality(truth: NDArray[Any], decoded: NDArray[Any], ssim_every: int = 1) -> VolumeQuality:
    """Compare two volumes of one shape.

    Args:
        truth: (X, Y, Z) true values.
        decoded: (X, Y, Z) decoded ones.
        ssim_every: Measure SSIM on every n-th slab only.

    Raises:
        VolumeError: The shapes differ.

    >>> truth = np.arange(64.0).reshape(4, 4, 4)
    >>> found = volume_quality(truth, truth + 0.63)
    >>> round(found.psnr, 6), round(found.largest, 6), round(found.mean, 6)
    (40.0, 0.63, 0.63)
    """
    limits, squares, total, largest = value_range(truth, "The true volume"), 0.0, 0.0, 0.0
    for error in _errors(truth, decoded):
        squares += float(np.sum(np.square(error)))
        np.abs(error, out=error)
        total += float(np.sum(error))
        largest = max(largest, float(error.max()))
    mse, span = squares / truth.size, limits.high - limits.low
    psnr = psnr_of(mse, span)
    ssim = volume_ssim(truth, decoded, limits, ssim_every)
    return VolumeQuality(psnr, ssim, largest, total / truth.size, math.sqrt(mse), limits.low, limits.high)


def error_histogram(truth: NDArray[Any], decoded: NDArray[Any], largest: float, bins: int = 101) -> ErrorHistogram:
    """Count signed errors.

    Args:
        truth: (X, Y, Z) true values.
        decoded: (X, Y, Z) decoded ones.
        largest: Bins reach from minus this error to plus this error.
        bins: Their number.

    >>> error_histogram(np.zeros((2, 2, 2)), np.full((2, 2, 2), 0.9), 1.0, bins=2).counts
    array([0, 8])
    """
    largest = max(largest, float(np.finfo(np.float32).tiny))
    edges = np.linspace(-largest, largest, bins + 1)
    counts = np.zeros(bins, np.int64)
    for error in _errors(truth, decoded):
        counts += np.histogram(np.clip(error, -largest, largest), edges)[0]
    return ErrorHistogram(edges, counts)


def volume_ssim(truth: NDArray[Any], decoded: NDArray[Any], limits: ValueRange, every: int = 1) -> float:
    """Mean structural similarity of Wang et al. 2004 in three dimensions.

    Windows are Gaussian with a standard deviation of 1.5 voxels, cut off at 11 voxels (at the largest odd number that
    fits into smaller volumes); the constants are 0.01 and 0.03; the range is that of the true values. Windows that
    reach over the border do not count.

    Args:
        truth: (X, Y, Z) true values.
        decoded: (X, Y, Z) decoded ones.
        limits: Range of the true values.
        every: Use every n-th slab only.
    """
    reach = (min(WINDOW, min(truth.shape)) - 1) // 2
    window = np.exp(-0.5 * (np.arange(-reach, reach + 1) / SIGMA) ** 2)
    window /= window.sum()
    total, count, scale = 0.0, 0, 1.0 / max(limits.high - limits.low, 1e-300)
    for part, rows in _blocks(truth.shape, reach, every):
        first, second = ((v[part, rows].astype(np.float64) - limits.low) * scale for v in (truth, decoded))
        found = _ssim_map(first, second, window)[tuple(slice(reach, size - reach) for size in first.shape)]
        total, count = total + float(found.sum()), count + found.size
        forget_pages(truth, decoded)
    return total / count


def _blocks(shape: tuple[int, ...], reach: int, every: int) -> Iterator[tuple[slice, slice]]:
    """Ranges of x and y, ``reach`` larger on each side than what they are for; a dozen arrays fit in memory."""
    for part in list(slabs((shape[0] - 2 * reach, *shape[1:])))[::every]:
        layers = part.stop - part.start + 2 * reach
        for rows in slabs((shape[1] - 2 * reach, layers, shape[2]), SLAB_BYTES // 4):
            yield slice(part.start, part.stop + 2 * reach), slice(rows.start, rows.stop + 2 * reach)


def _ssim_map(
    first: NDArray[np.float64], second: NDArray[np.float64], window: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Structural similarity around every voxel."""

    def blurred(values: NDArray[np.float64]) -> NDArray[np.float64]:
        for axis in range(3):
            values = correlate1d(values, window, axis)
        return values

    mean1, mean2 = blurred(first), blurred(second)
    variances = blurred(first * first) + blurred(second * second) - mean1**2 - mean2**2
    covariance = blurred(first * second) - mean1 * mean2
    above = (2.0 * mean1 * mean2 + _C1) * (2.0 * covariance + _C2)
    similarity: NDArray[np.float64] = above / ((mean1**2 + mean2**2 + _C1) * (variances + _C2))
    return similarity


def _errors(truth: NDArray[Any], decoded: NDArray[Any]) -> Iterator[NDArray[np.float64]]:
    """Decoded minus true values, part by part."""
    if truth.shape != decoded.shape:
        raise VolumeError(f"The decoded volume has shape {decoded.shape}, the true one {truth.shape}.")
    for part in stored_slabs(truth):
        yield decoded[part].astype(np.float64) - truth[part].astype(np.float64)
        forget_pages(truth, decoded)
