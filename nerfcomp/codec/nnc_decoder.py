"""Decoding an NNC bitstream (ISO/IEC 15938-17) in this process, in integers, whatever its bytes are.

`nnc_syntax` reads what the units say, `cabac` decodes their levels; no code but numpy's and numba's sees the stream.
"""

import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from nerfcomp.codec import cabac
from nerfcomp.codec.nnc_bits import StreamError
from nerfcomp.codec.nnc_syntax import Unit, read_units

PARALLEL_LEVELS = 2**20  # fewer are decoded before a thread has begun
_MOST_THREADS = 4
_SAID = {
    cabac.SHORT: "the coded levels end too early",
    cabac.TOO_LARGE: "a level has more than 32 bits",
    cabac.ASTRAY: "an entry point is not where the stream says",
}


class Coded(NamedTuple):
    """What a unit holds, before it is decoded: name, type and shape."""

    name: str
    dtype: str
    shape: tuple[int, ...]


def decode_nnc(data: bytes) -> dict[str, np.ndarray]:
    """Decode one NNC stream, of whatever origin.

    Args:
        data: A whole ``.nnc`` bitstream.

    Returns:
        Arrays by name in coded order: float32 for quantized tensors, int32 for lossless ones. Local scaling is folded
        into its weight, ``float32(scale) * float32(weight)``, and not returned itself.

    Raises:
        StreamError: The stream is damaged or uses what is not supported.

    >>> from nerfcomp.codec.nnc import encode_nnc
    >>> decode_nnc(encode_nnc({"bias": np.array([0.5, -0.25], np.float32)}, qp=-20))
    {'bias': array([ 0.5 , -0.25], dtype=float32)}
    """
    units = read_units(data)
    promised(units)
    return decode_units([(data, unit) for unit in units])


def promised(units: Sequence[Unit]) -> list[Coded]:
    """What comes out of units, known without decoding them.

    Raises:
        StreamError: Two tensors have one name.

    >>> from nerfcomp.codec.nnc import encode_nnc
    >>> promised(read_units(encode_nnc({"steps": np.arange(6).reshape(2, 3)})))
    [Coded(name='steps', dtype='int32', shape=(2, 3))]
    """
    found = []
    for unit in units:
        for name, shape in unit.parts[1:] if unit.scaled else unit.parts:
            found.append(Coded(name, "int32" if unit.integers else "float32", shape))
    names = [name for unit in units for name, _ in unit.parts]
    if len(set(names)) != len(names):
        raise StreamError("two of its tensors have one name")
    return found


def decode_units(jobs: Sequence[tuple[bytes, Unit]]) -> dict[str, np.ndarray]:
    """Decode units, each of the stream beside it, side by side where that pays; see `decode_nnc`."""
    levels = sum(math.prod(shape) for _, unit in jobs for _, shape in unit.parts)
    threads = min(os.cpu_count() or 1, _MOST_THREADS, len(jobs), levels // PARALLEL_LEVELS)
    if threads < 2:
        decoded = [_decode_unit(*job) for job in jobs]
    else:
        with ThreadPoolExecutor(threads) as pool:
            decoded = list(pool.map(lambda job: _decode_unit(*job), jobs))
    return {name: value for tensors in decoded for name, value in tensors.items()}


def _decode_unit(stream: bytes, unit: Unit) -> dict[str, np.ndarray]:
    data = np.frombuffer(stream, np.uint8)
    decoder = _begin(data, unit)
    tensors = {}
    for name, shape in unit.parts:
        step = None if unit.integers else _step(unit, cabac.read_bits(decoder, data, 6 + unit.density))
        rows, width = shape[0], math.prod(shape[1:])
        block = unit.block if len(shape) > 1 else 0
        levels = np.zeros(rows * width, np.int32)
        layout = cabac.Layout(rows, width, unit.dependent, unit.unary, block)
        status = cabac.read_levels(decoder, data, layout, unit.entries if block else unit.entries[:0], levels)
        if status != cabac.GOOD:
            raise StreamError(_SAID[status])
        values = levels if step is None else levels.astype(np.float32) * step
        tensors[name] = values.reshape(shape)
    if not cabac.ended(decoder):
        raise StreamError("the coded levels do not end where their unit ends")
    if unit.scaled:
        scale = tensors.pop(unit.parts[0][0])
        weight = tensors[unit.parts[-1][0]]
        weight *= scale.reshape(-1, *[1] * (weight.ndim - 1))
    return tensors


def _begin(data: cabac.Bytes, unit: Unit) -> cabac.Words:
    try:
        return cabac.begin(data, unit.first, unit.last)
    except ValueError as error:
        raise StreamError(str(error)) from error


def _step(unit: Unit, bits: int) -> np.float32:
    """The quantization step that a tensor's parameter, read as ``bits``, stands for."""
    count = 6 + unit.density
    qp = bits - (bits >> (count - 1) << count) + unit.parameter
    steps = 1 << unit.density
    with np.errstate(over="ignore", under="ignore"):
        return np.float32(np.ldexp(float(steps + qp % steps), qp // steps - unit.density))
