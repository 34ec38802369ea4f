"""Adam on the CPU that skips entries without a gradient. Notation as in `nerfcomp.kernels.adam`.

Memory bounds the speed. A line of 16 entries whose gradients are all 0 costs one look at the gradients; the others are
computed as one vector, of which untouched lanes keep their old values. The vector is written in LLVM's language because
the compiler does not find it by itself: it cannot know that the four arrays do not overlap. Two lines far apart are
taken in turn because memory delivers several streams faster than one.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import prange, types
from numba.core import cgutils
from numba.extending import intrinsic
from torch import Tensor
from torch.autograd.graph import increment_version

from nerfcomp.kernels.numba_setup import as_array, fast_kernel, parallel_kernel, worker_count

Array = np.ndarray[Any, Any]
_LANES = 16  # float32 numbers of a cache line
_CHUNK = 2**16
_VECTOR = ir.VectorType(ir.FloatType(), _LANES)
_FUSE = ("contract",)


def _constant(number: float) -> Any:
    return ir.Constant(_VECTOR, [number] * _LANES)


def _step_line(typing_context: Any, param: Any, grad: Any, mean: Any, square: Any, at: Any, rates: Any) -> Any:
    """Take entries [at, at + 16) one step on; ``rates`` as in `adam_step_numba`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> None:
        pointers = [_line(context, builder, signature.args[k], arguments[k], arguments[4]) for k in range(4)]
        gradient = builder.load(pointers[1], align=4)
        touched = builder.fcmp_unordered("!=", gradient, _constant(0.0))
        lanes = ir.IntType(_LANES)
        with builder.if_then(builder.icmp_unsigned("!=", builder.bitcast(touched, lanes), lanes(0))):
            numbers = [_splat(builder, builder.extract_value(arguments[5], k)) for k in range(6)]
            old = [builder.load(pointers[k], align=4) for k in (0, 2, 3)]
            for k, before, after in zip((0, 2, 3), old, _adam(builder, gradient, old, numbers)):
                builder.store(builder.select(touched, after, before), pointers[k], align=4)

    return types.void(param, grad, mean, square, at, rates), generate


def _line(context: Any, builder: Any, array_type: Any, array: Any, at: Any) -> Any:
    """Pointer to 16 entries of an array."""
    start = builder.gep(context.make_array(array_type)(context, builder, array).data, [at])
    return builder.bitcast(start, _VECTOR.as_pointer())


def _splat(builder: Any, number: Any) -> Any:
    """Vector of one number."""
    undefined = ir.Constant(_VECTOR, ir.Undefined)
    first = builder.insert_element(undefined, number, ir.IntType(32)(0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(ir.IntType(32), _LANES), [0] * _LANES))


def _adam(builder: Any, gradient: Any, old: Any, rates: Any) -> Any:
    """Parameter and moments after a step, as vectors."""

    def add(a: Any, b: Any) -> Any:
        return builder.fadd(a, b, flags=_FUSE)

    def mul(a: Any, b: Any) -> Any:
        return builder.fmul(a, b, flags=_FUSE)

    param, mean, square = old
    step_size, beta1, beta2, root_factor, eps, weight_decay = rates
    find: Any = cgutils.get_or_insert_function
    root = find(builder.module, ir.FunctionType(_VECTOR, [_VECTOR]), f"llvm.sqrt.v{_LANES}f32")
    gradient = add(gradient, mul(weight_decay, param))
    mean = add(mean, mul(builder.fsub(gradient, mean), builder.fsub(_constant(1.0), beta1)))
    square = add(mul(square, beta2), mul(mul(gradient, gradient), builder.fsub(_constant(1.0), beta2)))
    scale = add(mul(builder.call(root, [square]), root_factor), eps)
    return builder.fsub(param, builder.fdiv(mul(step_size, mean), scale)), mean, square


step_line: Any = intrinsic(_step_line)


@fast_kernel
def _step_rest(param: Array, grad: Array, mean: Array, square: Array, begin: int, rates: Any) -> None:
    """Do what `_step_line` does to the entries that fill no line."""
    step_size, beta1, beta2, root_factor, eps, weight_decay = rates
    one = np.float32(1.0)
    for i in range(begin, len(param)):
        if grad[i] != 0.0:
            gradient = grad[i] + weight_decay * param[i]
            mean[i] += (gradient - mean[i]) * (one - beta1)
            square[i] = square[i] * beta2 + gradient * gradient * (one - beta2)
            param[i] -= step_size * mean[i] / (np.sqrt(square[i]) * root_factor + eps)


@parallel_kernel
def _step(param: Array, grad: Array, mean: Array, square: Array, rates: Any, workers: int) -> None:
    """Take flat arrays one step on, chunk by chunk, two lines at a time that lie half a chunk apart."""
    pairs = len(param) // (2 * _LANES) * 2 * _LANES
    for worker in prange(workers):
        for chunk in range(worker * _CHUNK, pairs, workers * _CHUNK):
            half = min(_CHUNK, pairs - chunk) // 2
            for at in range(chunk, chunk + half, _LANES):
                step_line(param, grad, mean, square, at, rates)
                step_line(param, grad, mean, square, at + half, rates)
    _step_rest(param, grad, mean, square, pairs, rates)


def adam_step_numba(
    param: Tensor,
    grad: Tensor,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    rates: tuple[float, float, float, float, float, float],
) -> None:
    """Take one step in place.

    Args:
        param: Contiguous float32 on the CPU, like the three others, of the same shape.
        grad: Gradient.
        exp_avg: First moment.
        exp_avg_sq: Second moment.
        rates: Step size, beta1, beta2, root factor, eps and weight decay, as in `nerfcomp.kernels.adam.AdamStep`.
    """
    arrays = [as_array(tensor).reshape(-1) for tensor in (param, grad, exp_avg, exp_avg_sq)]
    workers = worker_count() if param.numel() > _CHUNK else 1
    _step(*arrays, tuple(np.float32(rate) for rate in rates), workers)
    increment_version((param, exp_avg, exp_avg_sq))  # torch does not see what numba writes
