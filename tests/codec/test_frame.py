import hashlib
import struct
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nerfcomp.codec import volume_header
from nerfcomp.codec.frame import _PHRASES, MAGIC, framed, unframed
from nerfcomp.codec.header import MAX_HEADER, dump_header
from nerfcomp.errors import ContainerError

HEADER = b'{"field":{"class_path":"nerfcomp.fields.WaveletVolume","init_args":{"shape":[24,20,17]}}}'


VOLUME = {"dtype": "float32", "high": 0.5, "low": -1.25, "name": "values", "origin": [0.0, 0.0, 0.0]}
VOLUME |= {"shape": [9, 8, 700], "spacing": [1.0, 1.0, 1.0]}
ARGUMENTS = {"centroids": [-0.12, 0.0, 0.29], "shape": [9, 8, 700], "step": 0.8028, "transform": "wavelets"}


def levels_header(**changes: Any) -> bytes:
    """Header of a file of a volume's levels, of 4 bytes, with other values or arguments."""
    volume = {name: changes.pop(name, value) for name, value in VOLUME.items()}
    arguments = {name: changes.pop(name, value) for name, value in ARGUMENTS.items()}
    arguments["shape"] = volume["shape"]
    tensors = [["levels", "int32", volume["shape"]]]
    said = {
        "field": {"class_path": "nerfcomp.fields.WaveletVolume", "init_args": arguments},
        "sections": [{"bytes": 4, "kind": "pyramid", "name": "levels", "tensors": tensors}],
        "volume": volume,
        "writer": "nerfcomp 0.1.0",
    }
    return dump_header(said | changes)


def by_hand(packed: bytes, body: bytes = b"") -> bytes:
    data = MAGIC + struct.pack("<II", 2, len(packed)) + packed + body
    return data + hashlib.sha256(data).digest()[:8]


@pytest.mark.parametrize("compact", [False, True])
def test_header_and_body_come_back(compact: bool) -> None:
    data = framed(HEADER, b"body", compact)
    frame = unframed(data)
    assert frame.header == HEADER and data[frame.start : frame.end] == b"body" and frame.compact is compact


def test_headers_of_volumes_become_small() -> None:
    assert len(framed(HEADER, b"", True)) < 70 < 130 < len(framed(HEADER, b"", False))


def test_one_flipped_bit_anywhere_is_noticed() -> None:
    data = framed(HEADER, b"body", True)
    for place in range(len(data)):
        with pytest.raises(ContainerError):
            unframed(data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :])


def test_headers_that_grow_without_end_are_refused() -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zdict=_PHRASES)
    packed = packer.compress(b" " * (MAX_HEADER + 1)) + packer.flush()
    assert len(packed) < 5000
    with pytest.raises(ContainerError, match="cut off, or longer"):
        unframed(by_hand(packed))


@pytest.mark.parametrize("packed", [b"", b"\xff\xff", zlib.compress(HEADER)])
def test_what_is_no_deflated_header_is_refused(packed: bytes) -> None:
    with pytest.raises(ContainerError, match="header"):
        unframed(by_hand(packed))


def test_bytes_behind_the_header_are_refused() -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zdict=_PHRASES)
    with pytest.raises(ContainerError, match="header"):
        unframed(by_hand(packer.compress(HEADER) + packer.flush() + b"more"))


@pytest.mark.parametrize(
    ("changes", "size"),
    [
        ({}, 34),
        ({"low": 0.1}, 42),
        ({"dtype": "uint8", "low": 0.0, "high": 255.0, "transform": "interpolation", "step": 1e-7}, 34),
        ({"shape": [2, 3, 4]}, 33),
        ({"shape": [1024, 1024, 2**40]}, 40),
        ({"name": "Dichte \u03c1"}, 44),
        ({"spacing": [0.5, 2.0, 1e-300], "origin": [-1.0, 0.1, 7.0]}, 82),
        ({"writer": "nerfcomp 0.2.0"}, 49),
    ],
)
def test_headers_of_levels_take_some_tens_of_bytes(changes: dict[str, Any], size: int) -> None:
    """10 before the header, 20 of it, 4 behind; a size above 127 takes two bytes, a value of 64 bits 4 more."""
    header = levels_header(**changes)
    data = framed(header, b"body", True)
    frame = unframed(data)
    assert (frame.header, data[frame.start : frame.end], frame.compact) == (header, b"body", True)
    assert data[8] == 3 and len(data) - 4 == size


@pytest.mark.parametrize(
    "changes",
    [
        {"more": 1},
        {"rounded": True},
        {"step": 0.12345678},
        {"centroids": [0.123, 0.0, 0.0]},
        {"centroids": [0.0, 0.0]},
        {"dtype": "complex64"},
        {"sections": []},
        {"spacing": [1, 1, 1]},
        {"name": "x" * 300},
    ],
)
def test_headers_that_say_more_stay_as_they_are(changes: dict[str, Any]) -> None:
    header = levels_header(**changes)
    data = framed(header, b"body", True)
    assert data[8] == 2 and unframed(data).header == header


def test_one_flipped_bit_of_a_tiny_file_is_noticed() -> None:
    data = framed(levels_header(), b"body", True)
    for place in range(len(data)):
        for bit in (1, 128):
            with pytest.raises(ContainerError):
                unframed(data[:place] + bytes([data[place] ^ bit]) + data[place + 1 :])


@given(packed=st.binary(max_size=80), size=st.integers(0, 100))
def test_whatever_bytes_say_is_a_header_or_a_sentence(packed: bytes, size: int) -> None:
    try:
        header = volume_header.unpack(packed, size)
    except ContainerError:
        return
    assert b"WaveletVolume" in header
