"""Three machine operations that numba does not offer: arrays from addresses, prefetching, an atomic counter."""

from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.extending import intrinsic


def _float32_pointer(typing_context: Any, address: Any) -> Any:
    """Turn an integer address into a pointer that `numba.carray` accepts.

    A list of tensors enters a kernel as an array of addresses, so that one compiled kernel serves any number of them.
    The caller keeps the tensors alive and vouches for their type and contiguity.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    pointer: Any = types.CPointer
    return pointer(types.float32)(address), generate


def _prefetch(typing_context: Any, array: Any, row: Any) -> Any:
    """Ask the memory for the cache line where a row of a C-contiguous matrix begins, without waiting for it."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        matrix = context.make_array(signature.args[0])(context, builder, arguments[0])
        width = builder.extract_value(matrix.shape, 1)
        index = builder.zext(arguments[1], width.type) if arguments[1].type.width < width.type.width else arguments[1]
        pointer = builder.bitcast(builder.gep(matrix.data, [builder.mul(index, width)]), ir.IntType(8).as_pointer())
        word = ir.IntType(32)
        function_type = ir.FunctionType(ir.VoidType(), [pointer.type, word, word, word])
        function = builder.module.declare_intrinsic("llvm.prefetch", [pointer.type], function_type)
        builder.call(function, [pointer, word(0), word(3), word(1)])
        return context.get_dummy_value()

    return types.void(array, row), generate


def _take_number(typing_context: Any, counter: Any) -> Any:
    """Return ``counter[0]`` (int64) and raise it by one, atomically: threads draw their next task with it."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        return builder.atomic_rmw("add", array.data, ir.Constant(ir.IntType(64), 1), "monotonic")

    return types.int64(counter), generate


# called in kernels only, the intrinsics with the typing context left out: numba's own annotations do not fit
carray: Any = vars(numba)["carray"]
float32_pointer: Any = intrinsic(_float32_pointer)
prefetch: Any = intrinsic(_prefetch)
take_number: Any = intrinsic(_take_number)
