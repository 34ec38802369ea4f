"""Machine operations that numba does not offer: arrays from addresses, prefetching, an atomic counter, row vectors.

``benchmarks/quick_intrinsics.py`` shows what prefetching and vectors gain over plain loops.

Numbers of a row travel as a tuple of float32; LLVM keeps such a tuple in one vector register.
"""

from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.cpython.unsafe.tuple import tuple_setitem
from numba.extending import intrinsic

_WORD = ir.IntType(32)
_FUSE = ("contract",)


def _float32_pointer(typing_context: Any, address: Any) -> Any:
    """Turn an integer address into a pointer that `numba.carray` accepts.

    A list of tensors enters a kernel as an array of addresses, so that one compiled kernel serves any number of them.
    The caller keeps the tensors alive and vouches for their type and contiguity.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    pointer: Any = types.CPointer
    return pointer(types.float32)(address), generate


def _prefetch(typing_context: Any, matrix: Any, row: Any) -> Any:
    """Ask the memory for the cache line where a row of a C-contiguous matrix begins, without waiting for it."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = _row_pointer(context, builder, signature.args[0], arguments[0], arguments[1], ir.IntType(8))
        function_type = ir.FunctionType(ir.VoidType(), [pointer.type, _WORD, _WORD, _WORD])
        function = builder.module.declare_intrinsic("llvm.prefetch", [pointer.type], function_type)
        builder.call(function, [pointer, _WORD(0), _WORD(3), _WORD(1)])
        return context.get_dummy_value()

    return types.void(matrix, row), generate


def _take_number(typing_context: Any, counter: Any) -> Any:
    """Return ``counter[0]`` (int64) and raise it by one, atomically: threads draw their next task with it."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        return builder.atomic_rmw("add", array.data, ir.Constant(ir.IntType(64), 1), "monotonic")

    return types.int64(counter), generate


def _add_to_row(typing_context: Any, matrix: Any, row: Any, weight: Any, numbers: Any) -> Any:
    """Do ``matrix[row] += weight * numbers``, where ``numbers`` is a tuple as long as a row."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector = ir.VectorType(ir.FloatType(), len(signature.args[3]))
        pointer = _row_pointer(context, builder, signature.args[0], arguments[0], arguments[1], vector)
        values = _to_vector(builder, arguments[3], vector)
        product = builder.fmul(_splat(builder, arguments[2], vector), values, flags=_FUSE)
        builder.store(builder.fadd(builder.load(pointer, align=4), product, flags=_FUSE), pointer, align=4)
        return context.get_dummy_value()

    return types.void(matrix, row, weight, numbers), generate


def _row_pointer(context: Any, builder: Any, matrix_type: Any, value: Any, row: Any, pointee: Any) -> Any:
    """Pointer to a row of a C-contiguous matrix; ``row`` is unsigned."""
    matrix = context.make_array(matrix_type)(context, builder, value)
    width = builder.extract_value(matrix.shape, 1)
    index = builder.zext(row, width.type) if row.type.width < width.type.width else row
    return builder.bitcast(builder.gep(matrix.data, [builder.mul(index, width)]), pointee.as_pointer())


def _to_vector(builder: Any, numbers: Any, vector: Any) -> Any:
    """Vector of the numbers of a tuple."""
    out = ir.Constant(vector, ir.Undefined)
    for k in range(vector.count):
        out = builder.insert_element(out, builder.extract_value(numbers, k), _WORD(k))
    return out


def _splat(builder: Any, number: Any, vector: Any) -> Any:
    """Vector of one number."""
    out = ir.Constant(vector, ir.Undefined)
    for k in range(vector.count):
        out = builder.insert_element(out, number, _WORD(k))
    return out


# called in kernels only, the intrinsics with the typing context left out: numba's own annotations do not fit
carray: Any = vars(numba)["carray"]
float32_pointer: Any = intrinsic(_float32_pointer)
prefetch: Any = intrinsic(_prefetch)
take_number: Any = intrinsic(_take_number)
add_to_row: Any = intrinsic(_add_to_row)
set_number: Any = tuple_setitem
