"""A volume as differences to what is interpolated from a coarser lattice, in as many numbers as there are voxels.

What is interpolated are decoded values, so that no error is larger than what its own difference was rounded by: suited
to sharp edges and labels, where wavelets ring. Source: Zhao et al., "Optimizing error-bounded lossy compression for
scientific data by dynamic spline interpolation" (2021), with its cubic splines; finer steps on coarse lattices after
Liu et al., "Dynamic quality metric oriented error bounded lossy compression" (2022).

Notation: as in :mod:`nerfcomp.kernels.lifting`, whose layout differences share: the values of a box at even places make
the next box.
"""

import numpy as np
from numpy.typing import NDArray

from nerfcomp.kernels.lifting import LEAST, boxes

_FINER, _FINEST = 0.75, 0.35  # step of a box, of that of the box below it; of that of the volume at least
_DEAD_ZONE = 0.55  # steps below which a difference counts as none


def differences(values: NDArray[np.float32], step: float) -> NDArray[np.int32]:
    """Levels of a volume, chosen in the order in which they are decoded.

    Args:
        values: (X, Y, Z).
        step: What one level of the finest box stands for.

    Returns:
        (X, Y, Z) int32; `interpolated` gives back values within 0.55 steps.

    >>> differences(np.array([[[1.0, 1.0, 3.0]]], np.float32), 0.5).tolist()  # the first in steps of 0.75 * 0.5
    [[[3, 0, 4]]]
    """
    levels = np.zeros(values.shape, np.int32)
    _walk(levels, step, values)
    return levels


def interpolated(levels: NDArray[np.int32], step: float) -> NDArray[np.float32]:
    """Values of levels: float32 of the same shape.

    >>> values = np.random.default_rng(0).normal(size=(9, 17, 3)).astype(np.float32)
    >>> bool(np.abs(interpolated(differences(values, 0.01), 0.01) - values).max() < 0.0056)
    True
    """
    return _walk(levels, step, None)


def _walk(levels: NDArray[np.int32], step: float, values: NDArray[np.float32] | None) -> NDArray[np.float32]:
    """Decode from coarse to fine, and fill ``levels`` on the way when there are ``values``."""
    sizes, found = boxes(levels.shape), np.zeros((1, 1, 1), np.float32)
    for depth in range(len(sizes) - 1, -1, -1):
        own = np.float32(step * max(_FINER**depth, _FINEST))
        box = tuple(sizes[depth])
        truth = None if values is None else _sampled(values, sizes, depth)
        if depth == len(sizes) - 1:
            found = _decoded(found, levels[:1, :1, :1], own, truth)
            continue
        for axis in range(3):
            shape = (*box[: axis + 1], *found.shape[axis + 1 :])
            if shape != found.shape:
                found = _refined(found, axis, shape, levels, own, truth)
    return found


def _sampled(values: NDArray[np.float32], sizes: NDArray[np.int64], depth: int) -> NDArray[np.float32]:
    """The values of a box."""
    for box in sizes[:depth]:
        values = values[tuple(slice(None, None, _stride(int(n))) for n in box)]
    return values


def _refined(
    found: NDArray[np.float32],
    axis: int,
    shape: tuple[int, ...],
    levels: NDArray[np.int32],
    step: np.float32,
    truth: NDArray[np.float32] | None,
) -> NDArray[np.float32]:
    """Double the places along an axis: every second one is known, the others are interpolated and corrected."""
    n, known = shape[axis], found.shape[axis]
    every = _stride(n)
    out = np.zeros(shape, np.float32)
    along = np.moveaxis(out, axis, 0)
    along[::every] = np.moveaxis(found, axis, 0)
    high = np.ones(n, bool)
    high[::every] = False
    guess = _guess(along[::every], n - known, n < LEAST)
    band = np.moveaxis(levels[tuple(slice(0, size) for size in shape)], axis, 0)[known:]  # a view, which is filled
    wanted = None
    if truth is not None:  # the axes behind are still of the next box
        ends = tuple(slice(None) if a <= axis else slice(None, None, _stride(truth.shape[a])) for a in range(3))
        wanted = np.moveaxis(truth[ends], axis, 0)[high]
    along[high] = _decoded(guess, band, step, wanted)
    return out


def _stride(n: int) -> int:
    """Distance of the values along an axis that are of the next box."""
    return 2 if n >= LEAST else n


def _decoded(
    guess: NDArray[np.float32], levels: NDArray[np.int32], step: np.float32, truth: NDArray[np.float32] | None
) -> NDArray[np.float32]:
    """Correct a guess by levels, chosen first when the truth is known."""
    if truth is not None:
        steps = (truth - guess) / step
        levels[...] = np.rint(steps) * (np.abs(steps) >= _DEAD_ZONE)
    return guess + levels.astype(np.float32) * step


def _guess(known: NDArray[np.float32], count: int, flat: bool) -> NDArray[np.float32]:
    """What lies between known values along the first axis: cubic inside, linear and constant at the ends."""
    if flat:
        return np.repeat(known, count, axis=0)
    beyond = known[1:] if len(known) > count else np.concatenate([known[1:], known[-1:]])
    guess = np.float32(0.5) * (known[:count] + beyond[:count])
    if len(known) == count:
        guess[-1] = known[-1] + np.float32(0.5) * (known[-1] - known[-2])
    inner = slice(1, len(known) - 2)
    guess[inner] = np.float32(9 / 16) * (known[1:-2] + known[2:-1]) - np.float32(1 / 16) * (known[:-3] + known[3:])
    return guess
