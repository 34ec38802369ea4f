"""Linear layers that multiply integers: 8-bit activations and weights, 32-bit sums.

Notation of this file, for M rows of K inputs and N outputs:

- An activation ``x`` is kept as the byte ``q = round(x / scale) + zero_point``, cut to 0 ... 255.
- A weight ``w`` of output n is kept as the signed byte ``w / scale_n``.
- ``y_n = scale scale_n sum_k (q_k - zero_point) w_nk + b_n``, where the sum is an exact 32-bit integer. Everything
  after it is float32, one operation after the other, so that all twins agree to the last bit.

Source: Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference"
(CVPR 2018), section 2.
"""

from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from nerfcomp.kernels.int8_linear.numba_kernel import BLOCK, groups_of, int8_linear_numba, pack_weight, quantize_numba
from nerfcomp.kernels.int8_linear.torch_kernel import int8_linear_int_mm, int8_linear_torch, quantize_torch
from nerfcomp.kernels.numba_setup import Array, as_array, worker_count

Backend = Literal["auto", "torch", "int_mm", "madd", "small", "vnni"]
_MOST_INPUTS = 2**16  # 255 * 128 * 2^16 < 2^31
_NUMBERS = {"madd": 2, "small": 4, "vnni": 4}  # in a word of 32 bits
_FEATURES = {"vnni": ("avx512vnni", "avx512vl"), "madd": ("avx2",)}  # the fastest first


class Grid(NamedTuple):
    """The 256 values that an activation can take: ``scale * (q - zero_point)`` for q from 0 to 255.

    Attributes:
        scale: Above 0.
        zero_point: 0 to 255.
    """

    scale: float
    zero_point: int


class PackedArrays(NamedTuple):
    """Weights of one layer as kernels in numba read them.

    Attributes:
        words: See `pack_weight`.
        groups: See `groups_of`; for "small" alone.
        shift: (N,) int32.
        factor: (N,) float32.
    """

    words: Array
    groups: Array | None
    shift: Array
    factor: Array


class PackedWeight(NamedTuple):
    """Weights of one layer for activations of one `Grid`, in the arrangement of one backend.

    Attributes:
        weight: (N, K) int8.
        shift: (N,) int32, ``-zero_point * sum_k w_nk``.
        factor: (N,) float32, ``scale * scale_n``.
        backend: What it is packed for.
        arrays: The same as kernels in numba read it; none for other backends.
    """

    weight: Tensor
    shift: Tensor
    factor: Tensor
    backend: Backend
    arrays: PackedArrays | None


def quantize(x: Tensor, grid: Grid, backend: Backend = "auto") -> Tensor:
    """Bring values to the nearest of a grid.

    Args:
        x: float32, any shape.
        grid: The values that there are.
        backend: As for `pack`.

    Returns:
        uint8 of the same shape.

    >>> quantize(torch.tensor([-1.0, 0.0, 0.24, 0.26, 999.0]), Grid(0.5, 1)).tolist()
    [0, 1, 1, 2, 255]
    """
    if backend in ("torch", "int_mm") or x.device.type != "cpu":
        return quantize_torch(x, *grid)
    flat = as_array(x).reshape(-1)
    out = np.empty(flat.size, np.uint8)
    quantize_numba(flat, np.float32(1.0 / grid.scale), grid.zero_point, worker_count(), out)
    return torch.from_numpy(out).view(x.shape)


def pack(weight: Tensor, weight_scale: Tensor, grid: Grid, backend: Backend = "auto") -> PackedWeight:
    """Arrange the weights of a layer for `int8_linear`.

    Args:
        weight: (N, K) int8.
        weight_scale: (N,) float32.
        grid: Of the activations that it is multiplied with.
        backend: "torch" is the reference; "int_mm" is for graphics processors; "madd" and "vnni" are for CPUs with
            AVX2 and with AVX512-VNNI; "small" is faster than "madd" where weights are small enough for it; "auto" takes
            the fastest that the processor has and that gives the integers of the reference, see `proven_backend`.

    Raises:
        ValueError: Weights of another type, too large ones for "small", or more inputs than 32-bit sums bear.
    """
    if weight.dtype != torch.int8 or weight.dim() != 2 or not 1 <= weight.shape[1] <= _MOST_INPUTS:
        raise ValueError(
            f"Integer layers need int8 weights of two dimensions with 1 to {_MOST_INPUTS} inputs, got "
            f"{weight.dtype} {tuple(weight.shape)}."
        )
    if backend == "auto":
        backend = _for_weight(proven_backend(), weight) if weight.device.type == "cpu" else "int_mm"
    shift = (-grid.zero_point * weight.sum(1, dtype=torch.int32)).to(torch.int32)
    factor = torch.tensor(grid.scale, dtype=torch.float32, device=weight.device) * weight_scale.float()
    if backend not in _NUMBERS:
        return PackedWeight(weight, shift, factor, backend, None)
    groups = groups_of(as_array(weight)) if backend == "small" else None
    if groups is not None and not groups.all():
        raise ValueError('Sums of 16 bits could overflow with these weights: take the backend "madd".')
    words = pack_weight(as_array(weight), _NUMBERS[backend])
    return PackedWeight(weight, shift, factor, backend, PackedArrays(words, groups, as_array(shift), as_array(factor)))


def int8_linear(
    x: Tensor, packed: PackedWeight, addend: Tensor, relu: bool = False, target: Grid | None = None
) -> Tensor:
    """Multiply integers; then scale, add, rectify, and bring the result to a grid, all in one pass.

    Args:
        x: (M, K) uint8, on the grid that the weights were packed for.
        packed: Weights.
        addend: (N,) bias; or (M, N), what a layer with inputs on several grids has added up so far.
        relu: Whether negative results become zero.
        target: Grid of the result; float32 when absent.

    Returns:
        (M, N) uint8 on the grid ``target``, or float32.

    >>> packed = pack(torch.tensor([[2, -1]], dtype=torch.int8), torch.tensor([0.5]), Grid(0.25, 1))
    >>> x = quantize(torch.tensor([[1.0, 3.0]]), Grid(0.25, 1))
    >>> x.tolist(), int8_linear(x, packed, torch.tensor([0.5])).tolist()
    ([[5, 13]], [[0.0]])
    """
    if packed.backend not in _NUMBERS:
        return _by_torch(x, packed, addend, relu, target)
    floats, integers, _ = _by_numba(x, packed, addend, relu, () if target is None else (target,))
    return torch.from_numpy(floats if target is None else integers)


def int8_linear_twice(
    x: Tensor, packed: PackedWeight, addend: Tensor, relu: bool, targets: tuple[Grid, Grid]
) -> tuple[Tensor, Tensor]:
    """`int8_linear` for two layers that read the same, each on a grid of its own."""
    if packed.backend not in _NUMBERS:
        y = _by_torch(x, packed, addend, relu, None)
        return quantize(y, targets[0], packed.backend), quantize(y, targets[1], packed.backend)
    _, first, second = _by_numba(x, packed, addend, relu, targets)
    return torch.from_numpy(first), torch.from_numpy(second)


def _by_torch(x: Tensor, packed: PackedWeight, addend: Tensor, relu: bool, target: Grid | None) -> Tensor:
    function = int8_linear_torch if packed.backend == "torch" else int8_linear_int_mm
    return function(x, packed.weight, packed.shift, packed.factor, addend, relu, target)


def _by_numba(x: Tensor, packed: PackedWeight, addend: Tensor, relu: bool, targets: tuple[Grid, ...]) -> list[Array]:
    """Results as float32 without grids; on the first and on the second; those that are not wanted have no rows."""
    rows, width = len(x), len(packed.weight)
    arrays = packed.arrays
    assert arrays is not None, "packed for numba"
    room = (worker_count(), BLOCK, arrays.words.shape[1] * _NUMBERS[packed.backend])
    wide = np.zeros(room, np.int16 if packed.backend == "madd" else np.uint8)
    out = [np.empty((rows if len(targets) == 0 else 0, width), np.float32)]
    out += [np.empty((rows if len(targets) > place else 0, width), np.uint8) for place in range(2)]
    grids = [(np.float32(1.0 / grid.scale), grid.zero_point) for grid in (*targets, Grid(1.0, 0), Grid(1.0, 0))[:2]]
    goals = (out[0], (*grids[0], out[1]), (*grids[1], out[2]))
    int8_linear_numba(as_array(x), wide, *arrays, as_array(addend).reshape(-1, width), relu, *goals)
    return out


def _for_weight(backend: Backend, weight: Tensor) -> Backend:
    """What suits a weight, where ``backend`` is what suits any."""
    small = backend == "madd" and _small_is_exact() and bool(groups_of(as_array(weight)).all())
    return "small" if small else backend


@lru_cache(maxsize=1)
def _small_is_exact() -> bool:
    return is_exact("small")


@lru_cache(maxsize=1)
def proven_backend() -> Backend:
    """The fastest backend for this CPU among those that agree with the reference on a layer of extreme numbers."""
    import llvmlite.binding  # only here: it takes a while

    features = llvmlite.binding.get_host_cpu_features()
    for name, needed in _FEATURES.items():
        backend: Backend = "vnni" if name == "vnni" else "madd"
        if all(features.get(feature, False) for feature in needed) and is_exact(backend):
            return backend
    return "torch"


def is_exact(backend: Backend) -> bool:
    """Whether a backend gives the reference's numbers where sums are as large as they get, and for random ones."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randint(-128, 128, (37, 67), generator=generator, dtype=torch.int16).to(torch.int8)
    x = torch.randint(0, 256, (51, 67), generator=generator, dtype=torch.uint8)
    weight[0], weight[1], x[0] = 127, -128, 255
    if backend == "small":
        weight = weight // 2  # 64 and 64 times 255 are the largest sum of two that 16 bits hold
    scale, bias = torch.rand(37, generator=generator) * 1e-2, torch.randn(37, generator=generator)
    grid, target = Grid(0.02, 7), Grid(0.05, 100)
    mine, truth = pack(weight, scale, grid, backend), pack(weight, scale, grid, "torch")
    return all(
        torch.equal(int8_linear(x, mine, bias, relu, goal), int8_linear(x, truth, bias, relu, goal))
        for relu in (False, True)
        for goal in (None, target)
    )
