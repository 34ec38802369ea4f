"""Sums of the errors of slabs of a volume, as a run collects them step by step and process by process."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nerfcomp.artifacts.volume import VolumeArtifact
from nerfcomp.evaluation.volumes import psnr_of


class SlabError(NamedTuple):
    """Errors of stored values, in units of half the volume's range, as a field normalises them.

    Attributes:
        voxels: How many values were compared.
        squares: Sum of squared errors.
        absolutes: Sum of absolute errors.
        largest: Largest absolute error.
    """

    voxels: int
    squares: float
    absolutes: float
    largest: float

    @property
    def mse(self) -> float:
        """Mean squared error."""
        return self.squares / self.voxels

    @property
    def l1(self) -> float:
        """Mean absolute error."""
        return self.absolutes / self.voxels

    @property
    def psnr(self) -> float:
        """``10 log10(range^2 / MSE)`` in dB; infinite without error.

        >>> SlabError(1, 0.0004, 0.02, 0.02).psnr
        40.0
        """
        return psnr_of(self.mse, 2.0)


def measure_slab(trained: VolumeArtifact, start: int, truth: NDArray[Any]) -> SlabError:
    """Compare layers ``start, start + 1, ...`` of a volume, (A, Y, Z) in the stored type, with what is decoded."""
    x, y, z = trained.info.axes()
    decoded = trained.values((x[start : start + len(truth)], y, z)).astype(np.float64)
    scale = 0.5 * (trained.info.high - trained.info.low) or 1.0
    error = np.abs(decoded - truth) / scale
    return SlabError(error.size, float(np.square(error).sum()), float(error.sum()), float(error.max()))


def merged(errors: Sequence[SlabError]) -> SlabError | None:
    """The error over several parts of a volume; none for no part.

    >>> merged([SlabError(1, 2.0, 3.0, 4.0), SlabError(1, 1.0, 1.0, 1.0)])
    SlabError(voxels=2, squares=3.0, absolutes=4.0, largest=4.0)
    """
    if not errors:
        return None
    voxels, squares, absolutes, largest = zip(*errors)
    return SlabError(sum(voxels), sum(squares), sum(absolutes), max(largest))
