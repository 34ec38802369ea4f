"""What stands around the sections of a ``.nfc`` file: magic, version, header, digest.

Version 1 has the header as it is and a whole SHA-256; version 2, for files of a few kilobytes, deflates the header
(RFC 1951) against `_PHRASES` and keeps the first 8 bytes of the SHA-256. Version 3, for files of some tens of bytes,
packs the header as :mod:`nerfcomp.codec.volume_header` does, keeps version and length of the header in a byte each, and
the first 4 bytes of the SHA-256.
"""

import hashlib
import struct
import zlib
from typing import NamedTuple

from nerfcomp.codec import volume_header
from nerfcomp.codec.header import MAX_HEADER
from nerfcomp.errors import ContainerError

MAGIC = b"\x89NFC\r\n\x1a\n"
PLAIN, COMPACT, TINY = 1, 2, 3
_PREFIX, _TINY_PREFIX = struct.Struct("<8sII"), struct.Struct("<8sBB")
_DIGEST = {PLAIN: 32, COMPACT: 8, TINY: 4}
_PHRASES = (  # what headers of volumes say; part of the format
    b'"uint32""uint64""int32""int64""int8""float16","name":"density","name":"data","name":"pressure","orig'
    b'in":[-1.0,"rounded":true,{"field":{"class_path":"nerfcomp.fields.LatentGridVolume","init_args":{"bor'
    b'der":"zero","features":16,"hidden_layers":4,"hidden_width":32,"n_frequencies":2,"size":15,"wavelet":'
    b'"db2"}},{"field":{"class_path":"nerfcomp.fields.HashVolume","init_args":{"base_resolution":11,"featu'
    b'res":2,"finest_resolution":128,"hidden_layers":2,"hidden_width":32,"levels":6,"log2_table_size":14}}'
    b',"sections":[{"bytes":,"kind":"nnc","name":"small","tensors":[["grid.levels.0.weight","float32",[204'
    b'8,2]],["head.layers.0.weight","float32",[32,12]],["head.layers.0.bias","float32",[32]],["head.layers'
    b'.2.bias","float32",[1]]]},{"bytes":1024,"kind":"nnc","name":"grid.levels.5","tensors":[["grid.levels'
    b'.5.weight","float32",[16384,2]]]}],{"field":{"class_path":"nerfcomp.fields.WaveletVolume","init_args'
    b'":{"centroids":[-0.05,-0.02,0.02],"shape":[256,256,256],"step":0.0}},"sections":[{"bytes":1000,"kind'
    b'":"pyramid","name":"levels","tensors":[["levels","int32",[128,128,128]]]}],"volume":{"dtype":"uint8"'
    b',"dtype":"uint16","dtype":"int16","dtype":"float64","dtype":"float32","high":255.0,"low":0.0,"name":'
    b'"values","origin":[0.0,0.0,0.0],"shape":[512,512,512],"spacing":[1.0,1.0,1.0]},"writer":"nerfcomp 0.'
    b'1.0"}'
)


class Frame(NamedTuple):
    """A file taken apart, unread.

    Attributes:
        header: JSON text.
        start: Where the sections begin.
        end: Where they end.
        compact: Whether it is of version 2 or 3.
    """

    header: bytes
    start: int
    end: int
    compact: bool


def framed(header: bytes, body: bytes, compact: bool) -> bytes:
    """Put a frame around sections.

    >>> data = framed(b'{"volume":{"dtype":"uint8"}}', b"sections", compact=True)
    >>> frame = unframed(data)
    >>> frame.header, data[frame.start : frame.end], len(data)
    (b'{"volume":{"dtype":"uint8"}}', b'sections', 39)
    """
    if compact and (tiny := volume_header.pack(header)) is not None and len(tiny) < 256:
        data = _TINY_PREFIX.pack(MAGIC, TINY, len(tiny)) + tiny + body
        return data + hashlib.sha256(data).digest()[: _DIGEST[TINY]]
    version = COMPACT if compact else PLAIN
    if compact:
        packer = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zdict=_PHRASES)
        header = packer.compress(header) + packer.flush()
    data = _PREFIX.pack(MAGIC, version, len(header)) + header + body
    return data + hashlib.sha256(data).digest()[: _DIGEST[version]]


def unframed(data: bytes) -> Frame:
    """Check magic, version, lengths and digest.

    Raises:
        ContainerError: Not a ``.nfc`` file, damaged, or of another version.
    """
    if data[: len(MAGIC)] != MAGIC:
        raise ContainerError(f"This is not a .nfc file: it starts with {bytes(data[:8])!r}, not with {MAGIC!r}.")
    if len(data) < _PREFIX.size + _DIGEST[COMPACT]:
        raise ContainerError(f"The file is cut off after {len(data)} bytes; copy it again.")
    tiny = data[len(MAGIC)] == TINY
    prefix = _TINY_PREFIX if tiny else _PREFIX
    _, version, length = prefix.unpack_from(data)
    if version not in _DIGEST:
        raise ContainerError(
            f"The file has version {version}, this program reads versions {PLAIN} to {TINY}; "
            "decode it with the nerfcomp that wrote it, or update this one."
        )
    end = len(data) - _DIGEST[version]
    if length > min(MAX_HEADER, end - prefix.size):
        raise ContainerError(f"The header claims {length} bytes, more than the file holds; the file is damaged.")
    if hashlib.sha256(data[:end]).digest()[: _DIGEST[version]] != data[end:]:
        raise ContainerError("The file is damaged: its SHA-256 does not match; copy or encode it again.")
    start = prefix.size + length
    header = bytes(data[prefix.size : start])
    if tiny:
        return Frame(volume_header.unpack(header, end - start), start, end, True)
    return Frame(_inflated(header) if version == COMPACT else header, start, end, version == COMPACT)


def _inflated(packed: bytes) -> bytes:
    """The header of version 2, which may not be longer than another either."""
    unpacker = zlib.decompressobj(-15, zdict=_PHRASES)
    try:
        header = unpacker.decompress(packed, MAX_HEADER)
    except zlib.error as error:
        raise ContainerError(f"The header cannot be unpacked ({error}); the file is damaged.") from error
    if not unpacker.eof or unpacker.unused_data or unpacker.unconsumed_tail:
        raise ContainerError(f"The header is cut off, or longer than {MAX_HEADER} bytes; the file is damaged.")
    return header
