import hashlib
import struct
import zlib

import pytest

from nerfcomp.codec.frame import _PHRASES, MAGIC, framed, unframed
from nerfcomp.codec.header import MAX_HEADER
from nerfcomp.errors import ContainerError

HEADER = b'{"field":{"class_path":"nerfcomp.fields.WaveletVolume","init_args":{"shape":[24,20,17]}}}'


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
