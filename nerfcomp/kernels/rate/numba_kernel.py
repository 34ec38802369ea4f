"""Rounding and shrinking on the CPU, in one pass over memory. Notation as in `nerfcomp.kernels.rate`."""

import numpy as np
from numba import prange
from torch import Tensor
from torch.autograd.graph import increment_version

from nerfcomp.kernels.numba_setup import Array, Scalar, as_array, kernel, parallel_kernel, worker_count

_BLOCK = 2**14
_HALF, _ZERO = np.float32(0.5), np.float32(0.0)
_PLACE, _MIX1, _MIX2 = np.uint32(0x9E3779B9), np.uint32(0x85EBCA6B), np.uint32(0xC2B2AE35)
_BITS = np.float32(2.0**-24)


@kernel
def _round(weight: Array, inverse: Scalar, step: Scalar, dead_zone: Scalar, out: Array) -> None:
    for i in range(len(weight)):
        scaled = weight[i] * inverse
        value = np.floor(scaled + _HALF) * step
        out[i] = value if abs(scaled) >= dead_zone else _ZERO


@kernel
def _add_noise(
    weight: Array, inverse: Scalar, step: Scalar, dead_zone: Scalar, begin: Scalar, seed: Scalar, out: Array
) -> None:
    for i in range(len(weight)):
        word = np.uint32(np.uint32(begin + np.uint32(i)) * _PLACE + seed)
        word = np.uint32((word ^ (word >> np.uint32(16))) * _MIX1)
        word = np.uint32((word ^ (word >> np.uint32(13))) * _MIX2)
        word = word ^ (word >> np.uint32(16))
        scaled = weight[i] * inverse
        value = (scaled + (np.float32(np.int32(word >> np.uint32(8))) * _BITS - _HALF)) * step
        out[i] = value if abs(scaled) >= dead_zone else _ZERO


@parallel_kernel
def _write(
    weight: Array, inverse: Scalar, step: Scalar, dead_zone: Scalar, noisy: bool, seed: Scalar, out: Array, workers: int
) -> None:
    for worker in prange(workers):
        for begin in range(worker * _BLOCK, len(weight), workers * _BLOCK):
            end = min(begin + _BLOCK, len(weight))
            if noisy:
                place = np.uint32(begin)
                _add_noise(weight[begin:end], inverse, step, dead_zone, place, seed, out[begin:end])
            else:
                _round(weight[begin:end], inverse, step, dead_zone, out[begin:end])


@kernel
def _shrink_block(
    weight: Array, square: Array, step: Scalar, first: Scalar, further: Scalar, root_factor: Scalar, eps: Scalar
) -> None:
    for i in range(len(weight)):
        size = abs(weight[i])
        reach = np.sqrt(square[i]) * root_factor + eps
        left = max(size - (first if size < step else further) / reach, _ZERO)
        shrunk = left if weight[i] > _ZERO else -left
        weight[i] = shrunk if square[i] > _ZERO else weight[i]


@parallel_kernel
def _shrink(weight: Array, square: Array, step: Scalar, pull: Array, workers: int) -> None:
    for worker in prange(workers):
        for begin in range(worker * _BLOCK, len(weight), workers * _BLOCK):
            end = min(begin + _BLOCK, len(weight))
            _shrink_block(weight[begin:end], square[begin:end], step, pull[0], pull[1], pull[2], pull[3])


def round_levels_numba(weight: Tensor, step: float, out: Tensor, dead_zone: float, seed: int | None) -> None:
    """See `nerfcomp.kernels.rate.round_levels`; contiguous float32 tensors on the CPU."""
    numbers = (np.float32(1.0 / step), np.float32(step), np.float32(dead_zone))
    noise = (seed is not None, np.uint32((seed or 0) & 0xFFFFFFFF))
    _write(as_array(weight).reshape(-1), *numbers, *noise, as_array(out).reshape(-1), worker_count())
    increment_version(out)


def shrink_numba(weight: Tensor, exp_avg_sq: Tensor, step: float, pull: tuple[float, float, float, float]) -> None:
    """See `nerfcomp.kernels.rate.shrink`; contiguous float32 tensors on the CPU."""
    arrays = as_array(weight).reshape(-1), as_array(exp_avg_sq).reshape(-1)
    _shrink(*arrays, np.float32(step), np.array(pull, np.float32), worker_count())
    increment_version(weight)
