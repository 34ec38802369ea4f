"""Occupancy march on the CPU: every ray jumps from empty block to empty block, rays run in parallel.

A first kernel writes down which steps of the lattice lie in occupied cells; a second one turns those into positions and
lengths at their final places. Notation as in `nerfcomp.kernels.march`; all geometry is float32 and in the same order of
operations as the torch reference, so that both find the same samples.

The occupancy is read as bricks of 4^3 cells: one 64-bit word per brick, 256 KiB for 128^3 cells, which a core's cache
holds. Only functions of scalars are called within the loop over steps: handing on an array costs an atomic reference
count, which two threads fight over.
"""

import numpy as np
import torch
from numba import prange
from torch import Tensor

from nerfcomp.kernels.numba_setup import Array, Scalar, as_array, kernel, parallel_kernel, worker_count

_RAYS_PER_BLOCK = 64
_MARGIN = np.float32(0.05)  # of a step: rounding of an exit point must not jump over the first step behind it
_FLAT = np.float32(1e-12)  # a ray with a smaller slope never leaves a block along that axis
_EIGHTH = np.uint64(0x00330033)  # the 2^3 cells at the corner of a brick
_ONE = np.uint64(1)


@kernel
def _cell(position: Scalar, scale: Scalar, half: Scalar, top: Scalar) -> Scalar:
    """Index of the cell along one axis; ``position`` in cells of the coarsest cascade from the centre."""
    return int(min(max(position * scale + half, np.float32(0.0)), top))


@kernel
def _inverse(slope: Scalar) -> Scalar:
    """Distance per cell along one axis, finite."""
    return np.float32(1.0) / slope if abs(slope) > _FLAT else np.float32(1.0) / _FLAT


@kernel
def _exit(position: Scalar, inverse: Scalar, cell: Scalar, shift: Scalar, half: Scalar, scale: Scalar) -> Scalar:
    """Distance, along one axis, to where a ray leaves the aligned block of ``2^shift`` cells around ``cell``."""
    face = ((cell >> shift) + (inverse > np.float32(0.0))) << shift
    return ((np.float32(face) - half) / scale - position) * inverse


@kernel
def _word_shift(word: Scalar, i: Scalar, j: Scalar, k: Scalar) -> Scalar:
    """Log2 of the edge of the empty block around a cell of a brick that is not empty; -1 for an occupied cell."""
    if (word >> np.uint64((i & 3) << 4 | (j & 3) << 2 | (k & 3))) & _ONE:
        return -1
    return 0 if (word >> np.uint64((i & 2) << 4 | (j & 2) << 2 | (k & 2))) & _EIGHTH else 1


@kernel
def _jump(distance: Scalar, t: Scalar, dt_min: Scalar, dt_max: Scalar, growth: Scalar) -> Scalar:
    """Number of steps from ``t`` that surely lie within ``distance``."""
    length = min(max((t + distance) * growth, dt_min), dt_max)
    return int(distance / length - _MARGIN) if distance > length else 0


@kernel
def _march_block(
    begin: Scalar,
    end: Scalar,
    origins: Array,
    directions: Array,
    enter: Array,
    leave: Array,
    first: Array,
    jitter: Array,
    midpoints: Array,
    words: Array,
    levels: Array,
    edge: Scalar,
    limits: Array,
    max_samples: Scalar,
    steps: Array,
    counts: Array,
) -> None:
    """Write the occupied steps of some rays to ``steps``, densely from ``begin * max_samples`` on, and count them."""
    half, top, one, two = np.float32(2 * edge), np.float32(4 * edge - 1), np.float32(1.0), np.float32(2.0)
    cascades, dt_min, dt_max, growth = len(words) // edge**3, limits[0], limits[1], limits[2]
    write, last = begin * max_samples, len(midpoints) - 1
    for ray in range(begin, end):
        t_in, t_out, u, step, stop = enter[ray], leave[ray], jitter[ray], first[ray], write + max_samples
        ox, oy, oz = origins[ray, 0], origins[ray, 1], origins[ray, 2]
        dx, dy, dz = directions[ray, 0], directions[ray, 1], directions[ray, 2]
        ix, iy, iz = _inverse(dx), _inverse(dy), _inverse(dz)
        before = write
        while step < last and write < stop:
            t = midpoints[step]
            t += u * (midpoints[step + 1] - t)
            if t >= t_out:
                break
            x, y, z, cascade, scale = ox + t * dx, oy + t * dy, oz + t * dz, cascades - 1, one
            while cascade > 0 and max(abs(x), abs(y), abs(z)) * scale * two <= half:
                cascade -= 1
                scale *= two
            i, j, k = _cell(x, scale, half, top), _cell(y, scale, half, top), _cell(z, scale, half, top)
            brick = np.uint64(((cascade * edge + (i >> 2)) * edge + (j >> 2)) * edge + (k >> 2))
            word = words[brick]
            shift = _word_shift(word, i, j, k) if word else np.int64(levels[brick]) + 1
            if shift < 0:
                steps[write] = step
                write += t >= t_in
                step += 1
                continue
            distance = min(_exit(x, ix, i, shift, half, scale), _exit(y, iy, j, shift, half, scale))
            distance = min(distance, _exit(z, iz, k, shift, half, scale))
            if t + distance >= t_out + dt_max:
                break
            step += 1 + _jump(distance, t, dt_min, dt_max, growth)
        counts[ray] = write - before


@parallel_kernel
def _find_steps(
    origins: Array,
    directions: Array,
    enter: Array,
    leave: Array,
    first: Array,
    jitter: Array,
    midpoints: Array,
    words: Array,
    levels: Array,
    edge: Scalar,
    limits: Array,
    max_samples: Scalar,
    workers: Scalar,
    steps: Array,
    counts: Array,
) -> None:
    """Occupied steps of all rays."""
    rays = len(origins)
    for worker in prange(workers):
        for begin in range(worker * _RAYS_PER_BLOCK, rays, workers * _RAYS_PER_BLOCK):
            _march_block(
                begin,
                min(begin + _RAYS_PER_BLOCK, rays),
                origins,
                directions,
                enter,
                leave,
                first,
                jitter,
                midpoints,
                words,
                levels,
                edge,
                limits,
                max_samples,
                steps,
                counts,
            )


@kernel
def _fill_block(
    begin: Scalar,
    end: Scalar,
    origins: Array,
    directions: Array,
    jitter: Array,
    midpoints: Array,
    widths: Array,
    max_samples: Scalar,
    steps: Array,
    offsets: Array,
    x: Array,
    t: Array,
    dt: Array,
    ray_indices: Array,
) -> None:
    """Positions, distances and lengths of the steps of some rays."""
    read = begin * max_samples
    for ray in range(begin, end):
        u = jitter[ray]
        for sample in range(offsets[ray], offsets[ray + 1]):
            step = steps[read]
            read += 1
            distance, width = midpoints[step], widths[step]
            distance += u * (midpoints[step + 1] - distance)
            t[sample] = distance
            dt[sample] = width + u * (widths[step + 1] - width)
            ray_indices[sample] = ray
            for axis in range(3):
                x[sample, axis] = origins[ray, axis] + distance * directions[ray, axis]


@parallel_kernel
def _fill(
    origins: Array,
    directions: Array,
    jitter: Array,
    midpoints: Array,
    widths: Array,
    max_samples: Scalar,
    workers: Scalar,
    steps: Array,
    offsets: Array,
    x: Array,
    t: Array,
    dt: Array,
    ray_indices: Array,
) -> None:
    """Samples of all rays."""
    rays = len(origins)
    for worker in prange(workers):
        for begin in range(worker * _RAYS_PER_BLOCK, rays, workers * _RAYS_PER_BLOCK):
            end = min(begin + _RAYS_PER_BLOCK, rays)
            geometry = (origins, directions, jitter, midpoints, widths)
            _fill_block(begin, end, *geometry, max_samples, steps, offsets, x, t, dt, ray_indices)


def _untouched(number: int) -> Array:
    """Int32 scratch of which little gets used; numpy would ask for huge pages, whose first touch clears 2 MiB each."""
    return torch.empty(number, dtype=torch.int32).numpy()


def march_numba(
    origins: Tensor,
    directions: Tensor,
    enter: Tensor,
    leave: Tensor,
    first: Tensor,
    jitter: Tensor,
    midpoints: Tensor,
    widths: Tensor,
    bricks: tuple[Tensor, Tensor],
    frame: Tensor,
    limits: tuple[float, float, float],
    max_samples: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Run both kernels; arguments and results as in `nerfcomp.kernels.march.torch_kernel.march_torch`, all on the CPU.

    ``bricks`` are the words and levels of `nerfcomp.kernels.march.Bricks`; ``limits`` the smallest and largest step and
    the growth of a step per unit of distance.
    """
    rays, workers, edge = len(origins), worker_count(), bricks[0].shape[1]
    longest = int((leave - enter).max() / limits[0]) + 2 if rays else 1
    max_samples = min(max_samples, longest)
    bounds = np.array(
        [limits[0], limits[1], limits[2] * (1 + 2 * limits[2])], np.float32
    )  # also bounds the step after the exit
    steps, counts = _untouched(rays * max_samples + 1), np.empty(rays, np.int64)
    cells = (as_array((origins - frame[0]) * frame[1]), as_array(directions * frame[1]))
    u, lattice = as_array(jitter), as_array(midpoints)
    grid = (as_array(bricks[0]).view(np.uint64).reshape(-1), as_array(bricks[1]).reshape(-1), edge)
    spans = (as_array(enter), as_array(leave), as_array(first))
    _find_steps(*cells, *spans, u, lattice, *grid, bounds, max_samples, workers, steps, counts)
    offsets = torch.zeros(rays + 1, dtype=torch.int64)
    torch.cumsum(torch.from_numpy(counts), 0, out=offsets[1:])
    total = int(offsets[-1])
    x, t, dt = torch.empty(total, 3), torch.empty(total), torch.empty(total)
    ray_indices = torch.empty(total, dtype=torch.int64)
    outputs = (x.numpy(), t.numpy(), dt.numpy(), ray_indices.numpy())
    world = (as_array(origins), as_array(directions))
    _fill(*world, u, lattice, as_array(widths), max_samples, workers, steps, offsets.numpy(), *outputs)
    return x, t, dt, ray_indices, offsets
