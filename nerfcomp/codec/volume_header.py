"""What a file of a volume's coefficients says of itself, in some twenty bytes; headers that say more stay JSON.

Layout, integers little-endian::

    1      what is as usual, see `_Usual`
    1      type, index into `DTYPES`
    3 v    shape; v is an integer in groups of 7 bits, low ones first, the highest bit set where more follow
    2 f    low and high; f is float32 where `_Usual.NARROW` is set, else float64
    3      step: an unsigned integer of 16 bits times 10 to the power of a signed one of 8
    3      centroids, in hundredths, signed
    3 f64  origin, unless usual
    3 f64  spacing, unless usual
    v      bytes of the name, and the name, unless usual
    v      bytes of the writer, and the writer, unless usual
"""

import enum
import json
import struct
from collections.abc import Mapping
from typing import Any

from nerfcomp.codec.header import dump_header
from nerfcomp.errors import ContainerError

DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float16", "float32", "float64")
_WRITER, _NAME = "nerfcomp 0.1.0", "values"
_ORIGIN, _SPACING = [0.0, 0.0, 0.0], [1.0, 1.0, 1.0]
_STEP, _THREE = struct.Struct("<Hb"), struct.Struct("<3d")
_LONGEST_NAME = 200


class _Usual(enum.IntFlag):
    """What need not be said."""

    WAVELETS = 1  # the transform; else interpolation
    NARROW = 2
    ORIGIN = 4
    SPACING = 8
    NAME = 16
    WRITER = 32


def pack(header: bytes) -> bytes | None:
    """Pack the JSON header of a file whose one section is the levels of a volume; none where it says anything else.

    >>> pack(b'{"field":{}}') is None
    True
    """
    said = json.loads(header)
    try:
        packed = _packed(said)
        size = said["sections"][0]["bytes"]
        return packed if unpack(packed, size) == header else None
    except (KeyError, TypeError, ValueError, IndexError, OverflowError, struct.error, AttributeError):
        return None


def _packed(said: Mapping[str, Any]) -> bytes:
    """Pack what is there; whoever calls compares."""
    volume, field = said["volume"], said["field"]["init_args"]
    bounds = struct.pack("<2f", volume["low"], volume["high"])
    narrow = list(struct.unpack("<2f", bounds)) == [volume["low"], volume["high"]]
    usual = {
        _Usual.WAVELETS: field["transform"] == "wavelets",
        _Usual.NARROW: narrow,
        _Usual.ORIGIN: volume["origin"] == _ORIGIN,
        _Usual.SPACING: volume["spacing"] == _SPACING,
        _Usual.NAME: volume["name"] == _NAME,
        _Usual.WRITER: said["writer"] == _WRITER,
    }
    digits, _, power = f"{field['step']:.4e}".partition("e")
    parts = [bytes([sum(flag for flag, holds in usual.items() if holds), DTYPES.index(volume["dtype"])])]
    parts += [_integer(size) for size in volume["shape"]]
    parts += [bounds if narrow else struct.pack("<2d", volume["low"], volume["high"])]
    parts += [_STEP.pack(round(float(digits) * 1e3), int(power) - 3)]
    parts += [struct.pack("<3b", *(round(100 * centroid) for centroid in field["centroids"]))]
    parts += [] if usual[_Usual.ORIGIN] else [_THREE.pack(*volume["origin"])]
    parts += [] if usual[_Usual.SPACING] else [_THREE.pack(*volume["spacing"])]
    for flag, text in ((_Usual.NAME, volume["name"].encode()), (_Usual.WRITER, said["writer"].encode())):
        parts += [] if usual[flag] else [_integer(len(text)), text]
    return b"".join(parts)


def unpack(packed: bytes, size: int) -> bytes:
    """The JSON header that `pack` has packed.

    Args:
        packed: What `pack` gave.
        size: Bytes of the section.

    Raises:
        ContainerError: It is cut off, or says what cannot be.
    """
    try:
        return dump_header(_unpacked(_Bytes(packed), size))
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise ContainerError(f"The header of the volume cannot be unpacked ({error}); the file is damaged.") from error


def _unpacked(data: "_Bytes", size: int) -> dict[str, Any]:
    """All fields in their order."""
    flags, kind = data.take("<2B")
    usual = _Usual(flags & sum(_Usual))
    if flags != usual or kind >= len(DTYPES):
        raise ContainerError("The header of the volume has unknown flags or types; update nerfcomp to read it.")
    shape = [data.integer() for _ in range(3)]
    low, high = data.take("<2f" if _Usual.NARROW in usual else "<2d")
    digits, power = data.take("<Hb")
    centroids = [hundredths / 100 for hundredths in data.take("<3b")]
    origin = _ORIGIN if _Usual.ORIGIN in usual else list(data.take("<3d"))
    spacing = _SPACING if _Usual.SPACING in usual else list(data.take("<3d"))
    name = _NAME if _Usual.NAME in usual else data.text(data.integer())
    writer = _WRITER if _Usual.WRITER in usual else data.text(data.integer())
    data.end()
    transform = "wavelets" if _Usual.WAVELETS in usual else "interpolation"
    arguments = {"centroids": centroids, "shape": shape, "step": float(f"{digits}e{power}"), "transform": transform}
    volume = {"dtype": DTYPES[kind], "low": low, "high": high, "name": name, "origin": origin, "shape": shape}
    tensors = [["levels", "int32", shape]]
    return {
        "field": {"class_path": "nerfcomp.fields.WaveletVolume", "init_args": arguments},
        "sections": [{"bytes": size, "kind": "pyramid", "name": "levels", "tensors": tensors}],
        "volume": {**volume, "spacing": spacing},
        "writer": writer,
    }


def _integer(value: int) -> bytes:
    """Groups of 7 bits, low ones first."""
    if not 0 <= value < 2**63:
        raise ValueError(f"{value} is no size.")
    groups = [value >> shift & 127 for shift in range(0, max(value.bit_length(), 1), 7)]
    return bytes([*(group | 128 for group in groups[:-1]), groups[-1]])


class _Bytes:
    """Bytes that are taken one after another."""

    def __init__(self, data: bytes) -> None:
        self.data, self.place = data, 0

    def take(self, layout: str) -> tuple[Any, ...]:
        """Numbers of a layout."""
        values = struct.unpack_from(layout, self.data, self.place)
        self.place += struct.calcsize(layout)
        return values

    def integer(self) -> int:
        """What `_integer` wrote, below 2^63."""
        value = 0
        for shift in range(0, 63, 7):
            group: int = self.take("<B")[0]
            value |= (group & 127) << shift
            if group < 128:
                return value
        raise IndexError("an integer does not end")

    def text(self, length: int) -> str:
        """UTF-8 of so many bytes."""
        found = self.data[self.place : self.place + length]
        if len(found) < length or length > _LONGEST_NAME:
            raise IndexError(f"a name of {length} bytes")
        self.place += length
        return found.decode()

    def end(self) -> None:
        """Refuse what is left."""
        if self.place != len(self.data):
            raise IndexError(f"{len(self.data) - self.place} bytes too many")
