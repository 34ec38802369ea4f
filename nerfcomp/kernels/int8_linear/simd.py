"""The innermost loops of integer layers, in the machine's own instructions.

A tile is ``ROWS`` rows of activations times ``COLUMNS`` rows of weights. Both sides are read in words of 32 bits: a
word of activations is spread over a vector register and meets eight words of weights, one for each column.

- On AVX2 a word holds two numbers of 16 bits: ``vpmaddwd`` adds two products, without any loss.
- The instruction for 8 bits, ``vpmaddubsw``, adds two products in 16 bits and saturates. Where weights are so small
  that not even several such sums can leave 16 bits, a word holds four numbers of 8 bits, and that many words are added
  up before they are widened.
- With VNNI a word holds four numbers of 8 bits: ``vpdpbusd`` adds four products to 32 bits.

What is done with the sums of a row comes from the compiler's vectorizer only where it knows that arrays do not overlap;
here it is written out, too.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

ROWS, COLUMNS = 4, 16
_LANES = 8
_WORD, _LONG = ir.IntType(32), ir.IntType(64)
_VECTOR = ir.VectorType(_WORD, _LANES)
_HALVES = ir.VectorType(ir.IntType(16), 2 * _LANES)
_QUARTERS = ir.VectorType(ir.IntType(8), 4 * _LANES)
_FLOAT = ir.FloatType()
_FLOATS = ir.VectorType(_FLOAT, _LANES)
_BYTES = ir.VectorType(ir.IntType(8), _LANES)
_PARTS = COLUMNS // _LANES
_ROUNDER = 1.5 * 2.0**23  # adding it leaves no bits for fractions: rounds half to even, up to 2^22


def _add_products(typing_context: Any, x: Any, row: Any, weight: Any, panel: Any, out: Any) -> Any:
    """Products of one tile.

    ``x`` is (R, words * numbers), int16 for AVX2 or uint8 for VNNI, and read from ``row`` on; ``weight`` (panels,
    words, COLUMNS) int32; as many rows of ``out`` (R, COLUMNS) int32 receive the sums. All are C-contiguous.
    """
    return _tile(_four_products if x.dtype == types.uint8 else _two_products, 1, x, row, weight, panel, out)


def _add_few(typing_context: Any, x: Any, row: Any, weight: Any, panel: Any, out: Any) -> Any:
    """`_add_products` of bytes with small weights on AVX2, one word at a time."""
    return _tile(_small_products, 1, x, row, weight, panel, out)


def _add_more(typing_context: Any, x: Any, row: Any, weight: Any, panel: Any, out: Any) -> Any:
    """The same with two words at a time."""
    return _tile(_small_products, 2, x, row, weight, panel, out)


def _add_most(typing_context: Any, x: Any, row: Any, weight: Any, panel: Any, out: Any) -> Any:
    """The same with four words at a time."""
    return _tile(_small_products, 4, x, row, weight, panel, out)


def _tile(step: Any, group: int, x: Any, row: Any, weight: Any, panel: Any, out: Any) -> Any:
    """Products of one tile, ``group`` words in each step."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        places = zip((0, 2, 4), (_WORD, _VECTOR, _VECTOR))
        arrays = [(context.make_array(signature.args[k])(context, builder, arguments[k]), kind) for k, kind in places]
        data = [builder.bitcast(array.data, kind.as_pointer()) for array, kind in arrays]
        words = builder.extract_value(arrays[1][0].shape, 1)
        row, panel = (_to_long(builder, arguments[k]) for k in (1, 3))
        starts = [builder.gep(data[0], [builder.mul(builder.add(row, _LONG(k)), words)]) for k in range(ROWS)]
        weights = builder.gep(data[1], [builder.mul(panel, builder.mul(words, _LONG(_PARTS)))])
        for place, total in enumerate(_loop(builder, step, group, starts, weights, words)):
            at = builder.add(builder.mul(row, _LONG(_PARTS)), _LONG(place))
            builder.store(total, builder.gep(data[2], [at]), align=4)
        return context.get_dummy_value()

    return types.void(x, row, weight, panel, out), generate


def _loop(builder: Any, step: Any, group: int, starts: list[Any], weights: Any, words: Any) -> list[Any]:
    """Go along the words of a tile with all sums in registers; returns them row by row."""
    begin, body, end = builder.block, builder.append_basic_block("body"), builder.append_basic_block("end")
    builder.branch(body)
    builder.position_at_end(body)
    place = builder.phi(_LONG)
    sums = [builder.phi(_VECTOR) for _ in range(ROWS * _PARTS)]
    places = [builder.add(place, _LONG(word)) for word in range(group)]
    columns = [_columns(builder, weights, at) for at in places]
    after = []
    for number, start in enumerate(starts):
        lanes = [_fill(builder, builder.load(builder.gep(start, [at]), align=4), _VECTOR) for at in places]
        for part in range(_PARTS):
            after.append(step(builder, sums[number * _PARTS + part], lanes, [column[part] for column in columns]))
    for total, following in zip(sums, after):
        total.add_incoming(ir.Constant(_VECTOR, [0] * _LANES), begin)
        total.add_incoming(following, body)
    following = builder.add(place, _LONG(group))
    place.add_incoming(_LONG(0), begin)
    place.add_incoming(following, body)
    builder.cbranch(builder.icmp_signed("<", following, words), body, end)
    builder.position_at_end(end)
    return after


def _columns(builder: Any, weights: Any, place: Any) -> list[Any]:
    """Word ``place`` of all columns of a panel."""
    first = builder.mul(place, _LONG(_PARTS))
    return [builder.load(builder.gep(weights, [builder.add(first, _LONG(k))]), align=4) for k in range(_PARTS)]


def _two_products(builder: Any, total: Any, x: Any, w: Any) -> Any:
    """Two products of 16 bits in every lane, added to 32 bits."""
    function = _external(builder, "llvm.x86.avx2.pmadd.wd", _VECTOR, [_HALVES, _HALVES])
    return builder.add(total, builder.call(function, [builder.bitcast(x[0], _HALVES), builder.bitcast(w[0], _HALVES)]))


def _small_products(builder: Any, total: Any, x: Any, w: Any) -> Any:
    """Four products of 8 bits of each word, added in 16 bits as long as there are words, then to 32 bits."""
    function = _external(builder, "llvm.x86.avx2.pmadd.ub.sw", _HALVES, [_QUARTERS, _QUARTERS])
    pairs = [(builder.bitcast(a, _QUARTERS), builder.bitcast(b, _QUARTERS)) for a, b in zip(x, w)]
    halves = builder.call(function, pairs[0])
    for pair in pairs[1:]:
        halves = builder.add(halves, builder.call(function, pair))
    widen = _external(builder, "llvm.x86.avx2.pmadd.wd", _VECTOR, [_HALVES, _HALVES])
    return builder.add(total, builder.call(widen, [halves, ir.Constant(_HALVES, [1] * 2 * _LANES)]))


def _four_products(builder: Any, total: Any, x: Any, w: Any) -> Any:
    """Four products of 8 bits, unsigned times signed, in every lane, added to 32 bits."""
    function = _external(builder, "llvm.x86.avx512.vpdpbusd.256", _VECTOR, [_VECTOR, _VECTOR, _VECTOR])
    return builder.call(function, [total, x[0], w[0]])


def _external(builder: Any, name: str, result: Any, arguments: list[Any]) -> Any:
    """A function of LLVM, declared once in a module."""
    known = builder.module.globals.get(name)
    return known or ir.Function(builder.module, ir.FunctionType(result, arguments), name)


def _to_long(builder: Any, value: Any) -> Any:
    return builder.sext(value, _LONG) if value.type.width < _LONG.width else value


def _finish_row(
    typing_context: Any,
    sums: Any,
    tile_row: Any,
    shift: Any,
    factor: Any,
    addend: Any,
    addend_row: Any,
    column: Any,
    lowest: Any,
    inverse: Any,
    zero_point: Any,
    row: Any,
    out: Any,
) -> Any:
    """Scale ``COLUMNS`` sums, add, cut below ``lowest``, and store as float32 or, on a grid, as uint8.

    ``sums`` (R, COLUMNS) int32; ``shift`` (N,) int32; ``factor`` (N,) float32; ``addend`` (1 or M, N) float32;
    ``lowest`` and ``inverse`` float32; ``zero_point`` int64; ``out`` (M, N) float32 or uint8.
    """
    integers = out.dtype == types.uint8

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        arrays = {k: context.make_array(signature.args[k])(context, builder, arguments[k]) for k in (0, 2, 3, 4, 11)}
        tile_row, addend_row, column, row = (_to_long(builder, arguments[k]) for k in (1, 5, 6, 10))
        at = {0: (tile_row, _LONG(0)), 2: (None, column), 3: (None, column), 4: (addend_row, column)}
        starts = {k: _place(builder, arrays[k], *{**at, 11: (row, column)}[k]) for k in arrays}
        for part in range(_PARTS):
            here = {k: builder.gep(start, [_LONG(part * _LANES)]) for k, start in starts.items()}
            total = builder.add(_load(builder, here[0], _VECTOR), _load(builder, here[2], _VECTOR))
            y = builder.fmul(builder.sitofp(total, _FLOATS), _load(builder, here[3], _FLOATS))
            y = builder.fadd(y, _load(builder, here[4], _FLOATS))
            if integers:
                y = _on_grid(builder, y, *arguments[7:10])
            else:
                y = _select(builder, "<", y, _fill(builder, arguments[7], _FLOATS))
            builder.store(y, builder.bitcast(here[11], y.type.as_pointer()), align=1)
        return context.get_dummy_value()

    shown = (sums, tile_row, shift, factor, addend, addend_row, column, lowest, inverse, types.int64, row, out)
    return types.void(*shown), generate


def _on_grid(builder: Any, y: Any, lowest: Any, inverse: Any, zero_point: Any) -> Any:
    """Bytes of values: ``round(clamp(y / scale)) + zero_point``."""
    zero = builder.sitofp(zero_point, _FLOAT)
    highest = builder.fsub(ir.Constant(_FLOAT, 255.0), zero)
    y = builder.fmul(y, _fill(builder, inverse, _FLOATS))
    y = _select(builder, "<", y, _fill(builder, lowest, _FLOATS))
    y = _select(builder, ">", y, _fill(builder, highest, _FLOATS))
    rounder = ir.Constant(_FLOATS, [_ROUNDER] * _LANES)
    whole = builder.fptosi(builder.fsub(builder.fadd(y, rounder), rounder), _VECTOR)
    zeros = _fill(builder, builder.trunc(zero_point, _WORD), _VECTOR)
    return builder.trunc(builder.add(whole, zeros), _BYTES)


def _place(builder: Any, array: Any, row: Any, column: Any) -> Any:
    """Pointer to an element of a C-contiguous array of one or two dimensions."""
    if row is None:
        return builder.gep(array.data, [column])
    width = builder.extract_value(array.shape, 1)
    return builder.gep(array.data, [builder.add(builder.mul(row, width), column)])


def _load(builder: Any, pointer: Any, kind: Any) -> Any:
    return builder.load(builder.bitcast(pointer, kind.as_pointer()), align=4)


def _fill(builder: Any, value: Any, kind: Any) -> Any:
    """Vector of one number."""
    nothing, places = ir.Constant(kind, ir.Undefined), ir.Constant(_VECTOR, [0] * _LANES)
    return builder.shuffle_vector(builder.insert_element(nothing, value, _WORD(0)), nothing, places)


def _select(builder: Any, sign: str, y: Any, bound: Any) -> Any:
    """``bound`` where ``y`` is beyond it."""
    return builder.select(builder.fcmp_ordered(sign, y, bound), bound, y)


add_few: Any = intrinsic(_add_few)
add_more: Any = intrinsic(_add_more)
add_most: Any = intrinsic(_add_most)
add_products: Any = intrinsic(_add_products)  # called in kernels only, the typing context left out
finish_row: Any = intrinsic(_finish_row)
