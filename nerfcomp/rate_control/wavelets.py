"""A volume as wavelet coefficients or differences to interpolation: the step that meets a size or a PSNR."""

import logging
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nerfcomp.artifacts.nfc import encode_artifact, uniform_allocation
from nerfcomp.artifacts.volume import VolumeArtifact
from nerfcomp.artifacts.volume_info import VolumeInfo
from nerfcomp.codec import to_bytes
from nerfcomp.codec.pyramid_coder import choose_levels
from nerfcomp.fields import WaveletVolume
from nerfcomp.fields.wavelet_volume import Transform
from nerfcomp.kernels.interpolation import differences
from nerfcomp.kernels.lifting import analyse
from nerfcomp.limits import MOST_VOXELS

logger = logging.getLogger(__name__)
_BIT_COST = 0.08  # squared steps; flat around it
_FIRST_BITS = 7.0  # of a coefficient that is not 0, where the search starts
_EXACT = 0.25  # of the distance of two integers: with a step of that they come back exactly
_FINEST = 2.0**-22  # step, in normalised values
_MOST_LEVELS = 2**23
_HEADER = 40  # bytes, about
MOST_TRIES, _CLOSE, _AIM = 10, 0.995, -0.0025


class Wavelets:
    """Coefficients of one volume, and files of any step.

    Args:
        values: (X, Y, Z) of any type.
        info: The volume without its values.
        transform: See `WaveletVolume`.
        on_try: Told after every try of a search how much it takes, as a share of what it may take.

    Attributes:
        stopped: Ctrl-C has ended a search; the best of its tries was kept.

    Raises:
        ValueError: More voxels than a file of coefficients may have.
    """

    def __init__(
        self,
        values: NDArray[Any],
        info: VolumeInfo,
        transform: Transform = "wavelets",
        on_try: Callable[[float], object] | None = None,
    ) -> None:
        if values.size > MOST_VOXELS:
            raise ValueError(f"{values.size} voxels are more than the {MOST_VOXELS} that wavelets are offered for.")
        self.values, self.info, self.transform, self.on_try = values, info, transform, on_try
        self.stopped = False
        normalised = info.normalised(values)
        self.coefficients = analyse(normalised) if transform == "wavelets" else normalised
        largest = max(float(np.abs(self.coefficients).max()), _FINEST)
        finest = max(_FINEST, largest / _MOST_LEVELS)
        if values.dtype.kind != "f":
            finest = max(finest, _EXACT * 2.0 / max(info.high - info.low, 1.0))
        self.limits = finest, max(2.0 * largest, finest)

    def for_bytes(self, target_bytes: int) -> VolumeArtifact:
        """The most exact model whose file has at most so many bytes, or the smallest file that is possible.

        Raises:
            KeyboardInterrupt: Ctrl-C, before any try passed.
        """
        least = max(target_bytes - _HEADER, 1)
        if self.transform != "wavelets":
            return self._for_bytes(target_bytes, 0.05)
        rough = np.sort(np.abs(self.coefficients[self.coefficients != 0]))[::-1]
        start = float(rough[min(int(8 * least / _FIRST_BITS), len(rough) - 1)]) if len(rough) else 1.0

        return self._for_bytes(target_bytes, start)

    def _for_bytes(self, target_bytes: int, start: float) -> VolumeArtifact:
        def measure(step: float) -> tuple[VolumeArtifact, float]:
            found = self.at_step(step)
            return found, self.file_bytes(found) / target_bytes

        return self._searched(measure, start, slope=-1.3)

    def for_psnr(self, psnr: float) -> VolumeArtifact:
        """The smallest model that is at least so near to the volume, in dB, if float32 can be.

        Raises:
            KeyboardInterrupt: Ctrl-C, before any try passed.
        """
        largest = 2 * 10 ** (-psnr / 20)

        def measure(step: float) -> tuple[VolumeArtifact, float]:
            found = self.at_step(step)
            error = self.info.normalised(found.values()) - self.info.normalised(self.values)
            return found, math.sqrt(float(np.mean(error.astype(np.float64) ** 2))) / largest

        return self._searched(measure, 2.5 * largest, slope=0.9)

    def _searched(
        self, measure: Callable[[float], tuple[VolumeArtifact, float]], start: float, slope: float
    ) -> VolumeArtifact:
        """Search, telling of every try, until Ctrl-C."""
        tries = list[tuple[float, VolumeArtifact]]()  # the best one that passed

        def told(step: float) -> tuple[VolumeArtifact, float]:
            found, share = measure(step)
            if share <= 1 and (not tries or share > tries[0][0]):
                tries[:] = [(share, found)]
            if self.on_try is not None:
                self.on_try(share)
            return found, share

        try:
            return searched(told, start, self.limits, slope)
        except KeyboardInterrupt:
            if not tries:
                raise
            self.stopped = True
            return tries[0][1]

    def at_step(self, step: float) -> VolumeArtifact:
        """A model of levels of this step that are worth their bits."""
        if self.transform == "wavelets":
            steps = self.coefficients / np.float32(step)
            levels = choose_levels(steps, _BIT_COST)
            field = WaveletVolume(self.info.shape, step, centroids_of(levels, steps))
        else:
            levels = differences(self.coefficients, step)
            field = WaveletVolume(self.info.shape, step, transform=self.transform)
        field.take_exact_tensors({"levels": torch.from_numpy(levels)})
        return VolumeArtifact(field=field.eval(), info=self.info)

    @staticmethod
    def file_bytes(model: VolumeArtifact) -> int:
        """Bytes of the whole file of a model."""
        return len(to_bytes(encode_artifact(model, uniform_allocation(model, 0))))


def centroids_of(levels: NDArray[np.int32], steps: NDArray[np.float32]) -> tuple[float, ...]:
    """Mean distance of coefficients of sizes 1, 2 and above beyond their size, in steps, to two digits.

    >>> centroids_of(np.array([1, 1, -2, 0], np.int32), np.array([1.2, 0.9, -2.1, 0.3], np.float32))
    (0.05, 0.1, 0.0)
    """
    sizes = np.abs(levels)
    beyond = np.abs(steps) - sizes
    groups = (sizes == 1, sizes == 2, sizes > 2)
    return tuple(round(float(beyond[group].mean(dtype=np.float64)), 2) if group.any() else 0.0 for group in groups)


def searched(
    measure: Callable[[float], tuple[VolumeArtifact, float]], start: float, limits: tuple[float, float], slope: float
) -> VolumeArtifact:
    """Find the step at which what is measured comes closest to 1 from below.

    Args:
        measure: Makes a model from a step and says what it takes, as a share of what it may take.
        start: First step.
        limits: Least and largest step.
        slope: d ln(share) / d ln(step), about.

    Returns:
        The best model that passes; the one of the last step when none does.
    """
    step, passing, failing = start, math.nan, math.nan
    best: tuple[float, VolumeArtifact] | None = None
    before: tuple[float, float] | None = None
    for _ in range(MOST_TRIES):
        step = float(f"{min(max(step, limits[0]), limits[1]):.4g}")
        found, share = measure(step)
        last = math.log(step), math.log(max(share, 1e-9))
        if share <= 1 and (best is None or share > best[0]):
            best = share, found
        passing, failing = (last[0], failing) if share <= 1 else (passing, last[0])
        finer = (share <= 1) == (slope < 0)  # what the next step would be
        if _CLOSE <= share <= 1 or (step <= 1.001 * limits[0] if finer else step >= 0.999 * limits[1]):
            break
        if before is not None and before[0] != last[0]:
            slope = math.copysign(min(max(abs((last[1] - before[1]) / (last[0] - before[0])), 0.3), 4.0), slope)
        before = last
        step = math.exp(_between(last[0] + (_AIM - last[1]) / slope, passing, failing))
    return found if best is None else best[1]


def _between(aim: float, passing: float, failing: float) -> float:
    """Keep a step, as a logarithm, inside the bracket, and off its ends."""
    if math.isnan(passing) or math.isnan(failing):
        return aim
    low, high = min(passing, failing), max(passing, failing)
    edge = 0.1 * (high - low)
    return min(max(aim, low + edge), high - edge)
