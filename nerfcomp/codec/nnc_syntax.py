"""The units of an NNC bitstream (ISO/IEC 15938-17), read without decoding a single level.

What encoders of named tensors use is understood: float tensors with one step, with or without dependent quantization,
integers, blocks with local scaling and bias, scans row by row or in blocks. Other tools of the standard (codebooks,
decomposition, updates of an earlier model, topologies, performance maps) are refused by name.

Notation: u(n), ue(k), i(n), st(v) as in the standard: n bits unsigned, Exp-Golomb of order k, n bits signed, a text.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nerfcomp.codec.nnc_bits import BitReader, StreamError

_START, _PARAMETERS, _TOPOLOGY, _DATA = 0, 1, 3, 5  # unit types
_INTEGER, _FLOAT, _BLOCK = 0, 1, 3  # payload types
_DECOMPOSED, _SCALING, _BIAS = 0x01, 0x02, 0x08  # compressed parameter types
_DEFAULT_UNARY = 10
_LAST_SCAN = 4
_MOST_DIMENSIONS = 8
_MOST_UNITS = 2**16


class Unit(NamedTuple):
    """One data unit: what it holds, and where.

    Args:
        parts: Name and shape of each tensor in coded order, the weight last.
        scaled: The first part is the local scaling of the last one.
        integers: Levels are the values.
        dependent: Dependent quantization.
        density, parameter: Of the quantization step: density, and what is added to each tensor's parameter.
        block: Side of scanned blocks, 0 row by row.
        entries: (n, 3) value, state and distance of the entry points of further rows of blocks.
        unary: Flags before the Exp-Golomb code.
        first, last: Where its coded levels begin and end.
    """

    parts: tuple[tuple[str, tuple[int, ...]], ...]
    scaled: bool
    integers: bool
    dependent: bool
    density: int
    parameter: int
    block: int
    entries: NDArray[np.int64]
    unary: int
    first: int
    last: int


class _Model(NamedTuple):
    """What the parameter set says of all data units; ``density`` is None where it has no quantization."""

    density: int | None
    parameter: int
    parents: bool


def read_units(data: bytes) -> list[Unit]:
    """Split a bitstream into its data units.

    Args:
        data: A whole stream, of unknown origin.

    Returns:
        The data units in order.

    Raises:
        StreamError: It is damaged, or uses what is not understood here.

    >>> from nerfcomp.codec.nnc import encode_nnc
    >>> read_units(encode_nnc({"bias": np.array([0.5, -0.25], np.float32)}, qp=-20))[0].parts
    (('bias', (2,)),)
    """
    units: list[Unit] = []
    model: _Model | None = None
    start = 0
    for count in range(_MOST_UNITS):
        if start == len(data) and count > 0:
            return units
        reader = BitReader(data, start, len(data))
        long = reader.u(1)
        end = start + reader.u(31 if long else 15)
        reader = BitReader(data, start, end, 8 * (4 if long else 2))
        kind = reader.u(6)
        reader.u(1)  # independently decodable
        if reader.u(1):
            raise StreamError("a unit is split into parts, which is not supported")
        if (kind == _START) != (count == 0):
            raise StreamError("it does not begin with one start unit")
        if kind == _START:
            if reader.u(8) != 1:
                raise StreamError("its profile is not the one of edition 2")
        elif kind == _PARAMETERS and model is None:
            model = _read_model(reader)
        elif kind == _TOPOLOGY and model is not None:
            _read_topology(reader)
        elif kind == _DATA and model is not None:
            units.append(_read_data(reader, model, end))
        else:
            raise StreamError(f"a unit of type {kind} is not supported at its place")
        if kind != _DATA and reader.byte() != end:
            raise StreamError("a unit is longer or shorter than it says")
        start = end
    raise StreamError(f"it has more than {_MOST_UNITS} units")


def _read_model(reader: BitReader) -> _Model:
    reader.u(1)  # whether there is a topology
    if reader.u(4):
        raise StreamError("its performance maps are not supported")
    quantization = reader.u(3)
    if reader.u(1):
        raise StreamError("its indexed names are not supported")
    if reader.u(3):
        raise StreamError("a base model or a measured performance is not supported")
    parents = bool(reader.u(1))
    reader.u(3)  # pre-flag or reserved, reserved
    density, parameter = (reader.u(3), reader.i(13)) if quantization & 3 else (None, 0)
    reader.align()
    return _Model(density, parameter, parents)


def _read_topology(reader: BitReader) -> None:
    if reader.u(8) not in (0, 3, 4):  # unrecognized, and the two that carry nothing but names
        raise StreamError("its topology is not supported")
    reader.u(8)  # how it is compressed
    reader.st()


def _read_data(reader: BitReader, model: _Model, end: int) -> Unit:
    payload, several = reader.u(5), reader.u(1)
    format_said, inputs = reader.u(1), reader.u(1)
    if payload not in (_INTEGER, _FLOAT, _BLOCK) or bool(several) != (payload == _BLOCK):
        raise StreamError(f"a payload of type {payload} is not supported")
    names = _read_names(reader) if several else [reader.st()]
    _read_node(reader, model)
    if payload != _INTEGER and reader.u(1):
        raise StreamError("its codebooks are not supported")
    dependent = bool(reader.u(1))
    if format_said:
        reader.u(7)
    if payload != _INTEGER and model.density is None:
        raise StreamError("its parameter set has no quantization step")
    shape, types, unary = _read_inputs(reader, bool(inputs))
    block, entries = _read_scan(reader, shape, dependent)
    reader.align()
    parts = _parts(names, types if payload == _BLOCK else 0, shape)
    density = model.density or 0
    scaled = payload == _BLOCK and bool(types & _SCALING)
    integers = payload == _INTEGER
    dependent = dependent and not integers
    return Unit(parts, scaled, integers, dependent, density, model.parameter, block, entries, unary, reader.byte(), end)


def _read_names(reader: BitReader) -> list[str]:
    count = reader.ue(7) + 2
    if count > 3:
        raise StreamError(f"a block of {count} tensors is not supported")
    reader.align()
    return [reader.st() for _ in range(count)]


def _read_node(reader: BitReader, model: _Model) -> None:
    """Which node of a tree of updates this is; only the first is understood."""
    if reader.u(1):
        for order in (1, 5, 4):  # device, parameter, depth
            reader.ue(order)
    if model.parents and reader.u(1):
        raise StreamError("its updates of an earlier model are not supported")


def _read_inputs(reader: BitReader, given: bool) -> tuple[tuple[int, ...], int, int]:
    """Shape, compressed parameter types, and flags before the Exp-Golomb code."""
    if not given or not reader.u(1):
        raise StreamError("it does not say the shapes of its tensors")
    own_unary, types = reader.u(1), reader.u(4)
    if types & _DECOMPOSED:
        raise StreamError("its decomposed tensors are not supported")
    count = reader.ue(1)
    if not 0 < count <= _MOST_DIMENSIONS:
        raise StreamError(f"a tensor has {count} dimensions")
    shape = tuple(reader.ue(7) for _ in range(count))
    if not 0 < math.prod(shape) < 2**31:
        raise StreamError(f"a tensor has the shape {shape}")
    return shape, types, (reader.u(8) + 1 if own_unary else _DEFAULT_UNARY)


def _read_scan(reader: BitReader, shape: tuple[int, ...], dependent: bool) -> tuple[int, NDArray[np.int64]]:
    """Side of the blocks in which levels are scanned, and the entry points of their rows."""
    none = np.zeros((0, 3), np.int64)
    if len(shape) == 1:
        return 0, none
    if reader.ue(1):
        raise StreamError("its turned dimensions are not supported")
    order = reader.u(4)
    if order > _LAST_SCAN:
        raise StreamError(f"it scans in an order {order}, which is not known")
    if order == 0:
        return 0, none
    block, rows, distance = 4 << order, [], 0
    for place in range(-(-shape[0] // block) - 1):
        value, state = reader.u(8), reader.u(3) if dependent else 0
        distance = reader.ue(11) if place == 0 else distance + reader.ie(7)
        rows.append((value, state, distance))
    if math.prod(shape[1:]) == 1 or shape[0] == 1:
        return 0, none
    return block, np.array(rows, np.int64).reshape(-1, 3)


def _parts(names: list[str], types: int, shape: tuple[int, ...]) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Names and shapes in coded order; a unit lists the weight first, then scaling and bias."""
    if len(names) > 1 and (types & ~(_SCALING | _BIAS) or types.bit_count() != len(names) - 1):
        raise StreamError("the tensors of a block are not those that it lists")
    if len(names) > 1 and types & _SCALING and names[1] != names[0] + "_scaling":
        raise StreamError("the scaling of a block does not bear its weight's name")
    if any(name.endswith(("_G", "_H")) for name in names):
        raise StreamError("its decomposed tensors are not supported")
    return (*((name, shape[:1]) for name in names[1:]), (names[0], shape))
