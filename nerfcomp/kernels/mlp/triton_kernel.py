"""Small networks on GPUs, all layers in one kernel. Notation as in `nerfcomp.kernels.mlp`.

The backward pass evaluates the layers again instead of reading what they handed on. Its programs stay: each takes every
n-th block, keeps the gradients of all weights in registers, and adds them to the others' at its end.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from nerfcomp.kernels.backends import interpreting
from nerfcomp.kernels.mlp.torch_kernel import mlp_torch
from nerfcomp.kernels.triton_setup import block_size, ceil_div, jit, launch, power_of_two, tl

_BLOCK = 128
_BLOCK_BACKWARD = 32  # 64 would need more shared memory than consumer GPUs have
_PROGRAMS = 264  # two for each multiprocessor of the largest GPUs
_LEAST = 16  # side of the smallest product


@jit
def _weights(matrix: tl.tensor, outs: tl.tensor, ins: tl.tensor, OUTS: tl.constexpr, INS: tl.constexpr) -> tl.tensor:
    """A weight (out, in), transposed and filled up with zeros to (INS, OUTS)."""
    row, column = tl.arange(0, INS), tl.arange(0, OUTS)
    mask = (row < ins)[:, None] & (column < outs)[None, :]
    return tl.load(matrix + column[None, :] * ins + row[:, None], mask=mask, other=0.0)


@jit
def _add(
    total: tl.tensor, matrix: tl.tensor, outs: tl.tensor, ins: tl.tensor, OUTS: tl.constexpr, INS: tl.constexpr
) -> None:
    """Add a gradient (INS, OUTS) to that of a weight (out, in)."""
    row, column = tl.arange(0, INS), tl.arange(0, OUTS)
    mask = (row < ins)[:, None] & (column < outs)[None, :]
    tl.atomic_add(matrix + column[None, :] * ins + row[:, None], total, mask=mask, sem="relaxed")


@jit
def _product(a: tl.tensor, b: tl.tensor) -> tl.tensor:
    """Product of two blocks to some 1e-6."""
    return tl.dot(a, b, input_precision="tf32x3")


@jit
def _inputs(
    x: tl.tensor,
    stride_row: tl.tensor,
    stride_column: tl.tensor,
    block: tl.tensor,
    number: tl.tensor,
    ins: tl.tensor,
    BLOCK: tl.constexpr,
    INS: tl.constexpr,
) -> tl.tensor:
    """A block of inputs, filled up with zeros."""
    row, column = (block * BLOCK + tl.arange(0, BLOCK)).to(tl.int64), tl.arange(0, INS)
    mask = (row < number)[:, None] & (column < ins)[None, :]
    return tl.load(x + row[:, None] * stride_row + column[None, :] * stride_column, mask=mask, other=0.0)


@jit
def _forward(
    x: tl.tensor,
    stride_row: tl.tensor,
    stride_column: tl.tensor,
    first: tl.tensor,
    middle: tl.tensor,
    last: tl.tensor,
    number: tl.tensor,
    ins: tl.tensor,
    outs: tl.tensor,
    out: tl.tensor,
    HIDDEN: tl.constexpr,
    LAYERS: tl.constexpr,
    INS: tl.constexpr,
    OUTS: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Outputs of a block of inputs."""
    block = tl.program_id(0)
    value = _inputs(x, stride_row, stride_column, block, number, ins, BLOCK, INS)
    value = tl.maximum(_product(value, _weights(first, HIDDEN, ins, HIDDEN, INS)), 0.0)
    if LAYERS == 2:
        value = tl.maximum(_product(value, _weights(middle, HIDDEN, HIDDEN, HIDDEN, HIDDEN)), 0.0)
    value = _product(value, _weights(last, outs, HIDDEN, OUTS, HIDDEN))
    row, column = (block * BLOCK + tl.arange(0, BLOCK)).to(tl.int64), tl.arange(0, OUTS)
    mask = (row < number)[:, None] & (column < outs)[None, :]
    tl.store(out + row[:, None] * outs + column[None, :], value, mask=mask)


@jit
def _backward(
    x: tl.tensor,
    stride_row: tl.tensor,
    stride_column: tl.tensor,
    first: tl.tensor,
    middle: tl.tensor,
    last: tl.tensor,
    grad: tl.tensor,
    number: tl.tensor,
    ins: tl.tensor,
    outs: tl.tensor,
    grad_x: tl.tensor,
    grad_first: tl.tensor,
    grad_middle: tl.tensor,
    grad_last: tl.tensor,
    HIDDEN: tl.constexpr,
    LAYERS: tl.constexpr,
    INS: tl.constexpr,
    OUTS: tl.constexpr,
    BLOCK: tl.constexpr,
    WITH_X: tl.constexpr,
) -> None:
    """Gradients of this program's blocks of inputs, and its part of those of the weights."""
    weight_first = _weights(first, HIDDEN, ins, HIDDEN, INS)
    weight_last = _weights(last, outs, HIDDEN, OUTS, HIDDEN)
    total_first = tl.zeros([INS, HIDDEN], tl.float32)
    total_middle = tl.zeros([HIDDEN, HIDDEN], tl.float32)
    total_last = tl.zeros([HIDDEN, OUTS], tl.float32)
    for block in range(tl.program_id(0), (number + BLOCK - 1) // BLOCK, tl.num_programs(0)):
        value = _inputs(x, stride_row, stride_column, block, number, ins, BLOCK, INS)
        lower = tl.maximum(_product(value, weight_first), 0.0)
        upper = lower
        if LAYERS == 2:
            upper = tl.maximum(_product(lower, _weights(middle, HIDDEN, HIDDEN, HIDDEN, HIDDEN)), 0.0)
        own = _inputs(grad, outs, 1, block, number, outs, BLOCK, OUTS)
        total_last += _product(tl.trans(upper), own)
        slope = tl.where(upper > 0.0, _product(own, tl.trans(weight_last)), 0.0)
        if LAYERS == 2:
            total_middle += _product(tl.trans(lower), slope)
            back = tl.trans(_weights(middle, HIDDEN, HIDDEN, HIDDEN, HIDDEN))
            slope = tl.where(lower > 0.0, _product(slope, back), 0.0)
        total_first += _product(tl.trans(value), slope)
        if WITH_X:
            result = _product(slope, tl.trans(weight_first))
            row, column = (block * BLOCK + tl.arange(0, BLOCK)).to(tl.int64), tl.arange(0, INS)
            mask = (row < number)[:, None] & (column < ins)[None, :]
            tl.store(grad_x + row[:, None] * stride_row + column[None, :] * stride_column, result, mask=mask)
    _add(total_first, grad_first, HIDDEN, ins, HIDDEN, INS)
    if LAYERS == 2:
        _add(total_middle, grad_middle, HIDDEN, HIDDEN, HIDDEN, HIDDEN)
    _add(total_last, grad_last, outs, HIDDEN, OUTS, HIDDEN)


def _constants(matrices: Sequence[Tensor]) -> dict[str, int]:
    """What is compiled in of a network."""
    (width, ins), outs = matrices[0].shape, len(matrices[-1])
    filled = {"INS": max(power_of_two(ins), _LEAST), "OUTS": max(power_of_two(outs), _LEAST)}
    return {"HIDDEN": width, "LAYERS": len(matrices) - 1, **filled}


def _widest(matrices: Sequence[Tensor]) -> int:
    """Most numbers per input that a program holds."""
    sizes = _constants(matrices)
    return max(sizes["HIDDEN"], sizes["INS"], sizes["OUTS"])


class _FusedMLP(torch.autograd.Function):
    """Autograd around the kernels."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, *matrices: Tensor) -> Tensor:
        matrices = tuple(matrix.contiguous() for matrix in matrices)
        x = x if x.t().is_contiguous() else x.contiguous()
        out = x.new_empty(len(x), len(matrices[-1]))
        block = block_size(len(x), _BLOCK, _widest(matrices))
        weights = (matrices[0], matrices[len(matrices) // 2], matrices[-1])
        sizes = (len(x), x.shape[1], out.shape[1])
        constants = {**_constants(matrices), "BLOCK": block, "num_warps": 4}
        launch(_forward, (ceil_div(len(x), block),), x.device, x, *x.stride(), *weights, *sizes, out, **constants)
        ctx.save_for_backward(x, *matrices)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, *matrices = ctx.saved_tensors
        if torch.is_grad_enabled():  # they will be differentiated again, as normals are
            wanted = [tensor for tensor, need in zip((x, *matrices), ctx.needs_input_grad) if need]
            found = iter(torch.autograd.grad(mlp_torch(x, matrices), wanted, grad, create_graph=True))
            return tuple(next(found) if need else None for need in ctx.needs_input_grad)
        grads = [torch.zeros_like(matrix) for matrix in matrices]
        wanted = ctx.needs_input_grad[0]
        grad_x = torch.empty_like(x) if wanted else x
        block = block_size(len(x), _BLOCK_BACKWARD, _widest(matrices))
        programs = min(ceil_div(len(x), block), 1 if interpreting() else _PROGRAMS)
        middle = len(matrices) // 2
        weights, sums = (matrices[0], matrices[middle], matrices[-1]), (grads[0], grads[middle], grads[-1])
        sizes = (len(x), x.shape[1], len(matrices[-1]))
        constants = {**_constants(matrices), "BLOCK": block, "WITH_X": wanted, "num_warps": 4}
        arguments = (x, *x.stride(), *weights, grad.contiguous(), *sizes, grad_x, *sums)
        launch(_backward, (programs,), x.device, *arguments, **constants)
        return grad_x if wanted else None, *grads


def mlp_triton(x: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """Do what `nerfcomp.kernels.mlp.mlp_torch` does, for `fusible` shapes in float32 on a GPU."""
    apply: Any = _FusedMLP.apply
    out: Tensor = apply(x, *matrices)
    return out
