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

from nerfcomp.kernels.int8_linear.numba_kernel import BLOCK, int8_linear_numba, pack_weight, quantize_numba
from nerfcomp.kernels.int8_linear.torch_kernel import int8_linear_int_mm, int8_linear_torch, quantize_torch
from nerfcomp.kernels.numba_setup import as_array, worker_count

Backend = Literal["auto", "torch", "int_mm", "madd", "vnni"]
_MOST_INPUTS = 2**16  # 255 * 128 * 2^16 < 2^31
_NUMBERS = {"madd": 2, "vnni": 4}  # in a word of 32 bits
_FEATURES = {"vnni": ("avx512vnni", "avx512vl"), "madd": ("avx2",)}  # the fastest first


class Grid(NamedTuple):
    """The 256 values that an activation can take: ``scale * (q - zero_point)`` for q from 0 to 255.

    Attributes:
        scale: Above 0.
        zero_point: 0 to 255.
    """

    scale: float
    zero_point: int


class PackedWeight(NamedTuple):
    """Weights of one layer for activations of one `Grid`, in the arrangement of one backend.

    Attributes:
        weight: (N, K) int8.
        words: The same as the kernel of the backend reads it; empty for those that need no other arrangement.
        shift: (N,) int32, ``-zero_point * sum_k w_nk``.
        factor: (N,) float32, ``scale * scale_n``.
        backend: What it is packed for.
    """

    weight: Tensor
    words: Tensor
    shift: Tensor
    factor: Tensor
    backend: Backend


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
            AVX2 and with AVX512-VNNI; "auto" takes the fastest that the processor has and that gives the integers of
            the reference, see `proven_backend`.

    Raises:
        ValueError: Weights of another type, or more inputs than 32-bit sums bear.
    """
    if weight.dtype != torch.int8 or weight.dim() != 2 or not 1 <= weight.shape[1] <= _MOST_INPUTS:
        raise ValueError(
            f"Integer layers need int8 weights of two dimensions with 1 to {_MOST_INPUTS} inputs, got "
            f"{weight.dtype} {tuple(weight.shape)}."
        )
    if backend == "auto":
        backend = proven_backend() if weight.device.type == "cpu" else "int_mm"
    words = torch.empty(0, dtype=torch.int32)
    if backend in _NUMBERS:
        words = torch.from_numpy(pack_weight(as_array(weight), _NUMBERS[backend]))
    shift = (-grid.zero_point * weight.sum(1, dtype=torch.int32)).to(torch.int32)
    factor = torch.tensor(grid.scale, dtype=torch.float32, device=weight.device) * weight_scale.float()
    return PackedWeight(weight, words, shift, factor, backend)


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
        function = int8_linear_torch if packed.backend == "torch" else int8_linear_int_mm
        goal = None if target is None else (target.scale, target.zero_point)
        return function(x, packed.weight, packed.shift, packed.factor, addend, relu, goal)
    rows, width = len(x), len(packed.weight)
    room = (worker_count(), BLOCK, packed.words.shape[1] * _NUMBERS[packed.backend])
    wide = np.zeros(room, np.int16 if packed.backend == "madd" else np.uint8)
    floats = np.empty((rows if target is None else 0, width), np.float32)
    integers = np.empty((0 if target is None else rows, width), np.uint8)
    inputs = [as_array(value) for value in (packed.words, packed.shift, packed.factor, torch.atleast_2d(addend))]
    scale, zero_point = target or Grid(1.0, 0)
    int8_linear_numba(as_array(x), wide, *inputs, relu, np.float32(1.0 / scale), zero_point, floats, integers)
    return torch.from_numpy(floats if target is None else integers)


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
    scale, bias = torch.rand(37, generator=generator) * 1e-2, torch.randn(37, generator=generator)
    grid, target = Grid(0.02, 7), Grid(0.05, 100)
    mine, truth = pack(weight, scale, grid, backend), pack(weight, scale, grid, "torch")
    return all(
        torch.equal(int8_linear(x, mine, bias, relu, goal), int8_linear(x, truth, bias, relu, goal))
        for relu in (False, True)
        for goal in (None, target)
    )
