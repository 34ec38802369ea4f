"""Packed compositing and distortion on the CPU, rays in parallel. Notation as in `nerfcomp.kernels.composite`.

Sums run in double precision along a ray, in the order of its samples: results do not depend on the number of workers.
"""

import numpy as np
from numba import prange

from nerfcomp.kernels.numba_setup import Array, Scalar, kernel, parallel_kernel

_RAYS_PER_BLOCK = 64


@kernel
def _composite_block(
    begin: Scalar,
    end: Scalar,
    alpha: Array,
    rgb: Array,
    t: Array,
    offsets: Array,
    start: Array,
    early_stop: Scalar,
    image: Array,
    depth: Array,
    opacity: Array,
    weights: Array,
    transmittance: Array,
) -> None:
    """Composite the rays ``begin`` to ``end``."""
    for ray in range(begin, end):
        through, red, green, blue, distance, total = np.float64(start[ray]), 0.0, 0.0, 0.0, 0.0, 0.0
        for sample in range(offsets[ray], offsets[ray + 1]):
            if through <= early_stop:
                weights[sample], transmittance[sample] = 0.0, 0.0
                continue
            weight = through * alpha[sample]
            transmittance[sample], weights[sample] = through, weight
            red += weight * rgb[sample, 0]
            green += weight * rgb[sample, 1]
            blue += weight * rgb[sample, 2]
            distance += weight * t[sample]
            total += weight
            through *= 1.0 - alpha[sample]
        image[ray, 0], image[ray, 1], image[ray, 2] = red, green, blue
        depth[ray], opacity[ray] = distance, total


@parallel_kernel
def composite_forward(
    alpha: Array,
    rgb: Array,
    t: Array,
    offsets: Array,
    start: Array,
    early_stop: Scalar,
    workers: Scalar,
    image: Array,
    depth: Array,
    opacity: Array,
    weights: Array,
    transmittance: Array,
) -> None:
    """Composite all rays; ``transmittance`` is what arrives at each sample, 0 behind the early stop."""
    rays = len(offsets) - 1
    for worker in prange(workers):
        for begin in range(worker * _RAYS_PER_BLOCK, rays, workers * _RAYS_PER_BLOCK):
            end = min(begin + _RAYS_PER_BLOCK, rays)
            inputs = (alpha, rgb, t, offsets, start, early_stop)
            _composite_block(begin, end, *inputs, image, depth, opacity, weights, transmittance)


@kernel
def _composite_block_backward(
    begin: Scalar,
    end: Scalar,
    alpha: Array,
    rgb: Array,
    t: Array,
    offsets: Array,
    weights: Array,
    transmittance: Array,
    grad_image: Array,
    grad_depth: Array,
    grad_opacity: Array,
    grad_weights: Array,
    grad_alpha: Array,
    grad_rgb: Array,
) -> None:
    """Walk each ray from its end; ``behind`` is the loss per unit of transmittance of all that lies behind a sample."""
    for ray in range(begin, end):
        red, green, blue = grad_image[ray, 0], grad_image[ray, 1], grad_image[ray, 2]
        behind = 0.0
        for sample in range(offsets[ray + 1] - 1, offsets[ray] - 1, -1):
            weight, through = weights[sample], transmittance[sample]
            grad_rgb[sample, 0], grad_rgb[sample, 1], grad_rgb[sample, 2] = weight * red, weight * green, weight * blue
            grad_alpha[sample] = 0.0
            if through > 0.0:
                here = red * rgb[sample, 0] + green * rgb[sample, 1] + blue * rgb[sample, 2]
                here += grad_depth[ray] * t[sample] + grad_opacity[ray] + grad_weights[sample]
                grad_alpha[sample] = through * (here - behind)
                behind += alpha[sample] * (here - behind)


@parallel_kernel
def composite_backward(
    alpha: Array,
    rgb: Array,
    t: Array,
    offsets: Array,
    weights: Array,
    transmittance: Array,
    grad_image: Array,
    grad_depth: Array,
    grad_opacity: Array,
    grad_weights: Array,
    workers: Scalar,
    grad_alpha: Array,
    grad_rgb: Array,
) -> None:
    """Gradients of all rays with respect to ``alpha`` and ``rgb``."""
    rays = len(offsets) - 1
    for worker in prange(workers):
        for begin in range(worker * _RAYS_PER_BLOCK, rays, workers * _RAYS_PER_BLOCK):
            end = min(begin + _RAYS_PER_BLOCK, rays)
            saved = (alpha, rgb, t, offsets, weights, transmittance)
            incoming = (grad_image, grad_depth, grad_opacity, grad_weights)
            _composite_block_backward(begin, end, *saved, *incoming, grad_alpha, grad_rgb)


@kernel
def _distortion_block(
    begin: Scalar, end: Scalar, weights: Array, t: Array, dt: Array, offsets: Array, loss: Array
) -> None:
    """Distortion of the rays ``begin`` to ``end``, by running sums of ``w`` and ``w t``."""
    for ray in range(begin, end):
        total, moment, result = 0.0, 0.0, 0.0
        for sample in range(offsets[ray], offsets[ray + 1]):
            weight = np.float64(weights[sample])
            result += 2.0 * weight * (t[sample] * total - moment) + weight * weight * dt[sample] / 3.0
            total += weight
            moment += weight * t[sample]
        loss[ray] = result


@parallel_kernel
def distortion_forward(weights: Array, t: Array, dt: Array, offsets: Array, workers: Scalar, loss: Array) -> None:
    """Distortion of all rays."""
    rays = len(offsets) - 1
    for worker in prange(workers):
        for begin in range(worker * _RAYS_PER_BLOCK, rays, workers * _RAYS_PER_BLOCK):
            _distortion_block(begin, min(begin + _RAYS_PER_BLOCK, rays), weights, t, dt, offsets, loss)


@kernel
def _distortion_block_backward(
    begin: Scalar,
    end: Scalar,
    weights: Array,
    t: Array,
    dt: Array,
    offsets: Array,
    grad_loss: Array,
    grad_weights: Array,
) -> None:
    """Gradient of the rays ``begin`` to ``end``: sums before a sample minus sums behind it."""
    for ray in range(begin, end):
        total, moment = 0.0, 0.0
        for sample in range(offsets[ray], offsets[ray + 1]):
            total += weights[sample]
            moment += np.float64(weights[sample]) * t[sample]
        before, before_moment = 0.0, 0.0
        for sample in range(offsets[ray], offsets[ray + 1]):
            weight = np.float64(weights[sample])
            middle = weight * t[sample]
            balance, tilt = 2.0 * before + weight - total, 2.0 * before_moment + middle - moment
            gradient = 2.0 * (t[sample] * balance - tilt) + 2.0 / 3.0 * weight * dt[sample]
            grad_weights[sample] = grad_loss[ray] * gradient
            before += weight
            before_moment += middle


@parallel_kernel
def distortion_backward(
    weights: Array, t: Array, dt: Array, offsets: Array, grad_loss: Array, workers: Scalar, grad_weights: Array
) -> None:
    """Gradient of all rays with respect to ``weights``."""
    rays = len(offsets) - 1
    for worker in prange(workers):
        for begin in range(worker * _RAYS_PER_BLOCK, rays, workers * _RAYS_PER_BLOCK):
            end = min(begin + _RAYS_PER_BLOCK, rays)
            _distortion_block_backward(begin, end, weights, t, dt, offsets, grad_loss, grad_weights)
