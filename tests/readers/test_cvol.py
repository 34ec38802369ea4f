import hashlib
import io
import struct
from pathlib import Path
from typing import Any

import lz4.block
import numpy as np
import pytest
from numpy.typing import NDArray

from nerfcomp.errors import VolumeError
from nerfcomp.readers import ProceduralVolume, VolumeHints, volume_reader

STEPS = (0.5, 2.0, 3.0)


def old_header(shape: tuple[int, ...], kind: int, packed: bool) -> bytes:
    return struct.pack("<4s3Q3dIB7x", b"cvol", *shape, *STEPS, kind, packed)


def new_header(features: int, packed: bool, version: int = 1) -> bytes:
    return struct.pack("<4si3fii4x", b"CVOL", version, 4.0, 6.0, 8.0, features, packed)


def old_cvol(values: NDArray[Any], kind: int, packed: bool) -> bytes:
    data = values.tobytes("F")
    return old_header(values.shape, kind, packed) + (chained(data) if packed else data)


def chained(data: bytes, history: bytes = b"") -> bytes:
    """Blocks of 64 KiB that refer to the ones before, as an LZ4 stream writes them."""
    out = b""
    for start in range(0, len(data), 1 << 16):
        block = data[start : start + (1 << 16)]
        packed = lz4.block.compress(block, store_size=False, dict=history)
        out += struct.pack("<i", len(packed)) + packed
        history = (history + block)[-(1 << 16) :]
    return out


def new_cvol(features: dict[str, NDArray[Any]], packed: bool) -> bytes:
    out, history = new_header(len(features), packed), b""
    for name, values in features.items():
        kind = ("uint8", "uint16", "float32").index(values.dtype.name)
        data = values.tobytes("F")
        out += struct.pack("<i", len(name)) + name.encode() + struct.pack("<3Qii", *values.shape, 1, kind)
        out += chained(data, history) if packed else data
        history = data[-(1 << 16) :]
    return out


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", [0, 1, 2])
def test_old_cvol(packed: bool, kind: int, tmp_path: Path) -> None:
    values = ProceduralVolume((40, 41, 43), ("uint8", "uint16", "float32")[kind]).read().values
    (tmp_path / "a.cvol").write_bytes(old_cvol(values, kind, packed))
    volume = volume_reader(tmp_path / "a.cvol").read()
    np.testing.assert_array_equal(volume.values, values)
    assert (volume.spacing, volume.name) == (STEPS, "density")


@pytest.mark.parametrize("packed", [False, True])
def test_new_cvol_with_two_features(packed: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.cvol"
    features = {
        "first": ProceduralVolume((40, 30, 80), "uint16").read().values,
        "second": ProceduralVolume((40, 30, 80), "float32").read().values,
    }
    path.write_bytes(new_cvol(features, packed))
    with pytest.raises(VolumeError, match="several.*--dataset: first, second"):
        volume_reader(path).read()
    volume = volume_reader(path, VolumeHints(dataset="second")).read()
    np.testing.assert_array_equal(volume.values, features["second"])
    np.testing.assert_allclose(volume.spacing, (0.1, 0.2, 0.1), rtol=1e-6)


def test_richtmyer_meshkov_is_decoded_to_the_known_bytes(shared_data: Path) -> None:
    file = io.BytesIO()
    np.save(file, volume_reader(shared_data / "volumes" / "ppm-t0020.cvol").read().values)
    known = "83dcfbb8aac4f949266c2623f7d905fd52d3abc1b66732a9feb7673d200197c4"
    assert hashlib.sha256(file.getvalue()).hexdigest() == known


HOSTILE = {
    "huge.cvol": (old_header((1 << 24, 1 << 24, 4), 2, True) + bytes(99), "bytes of values where"),
    "long.cvol": (old_header((1 << 40, 1 << 40, 4), 2, True) + bytes(99), "along an axis"),
    "cut.cvol": (b"cvol" + bytes(9), "middle of its header"),
    "short.cvol": (old_header((4, 4, 4), 0, False) + bytes(63), "63 bytes of values where"),
    "rest.cvol": (old_cvol(np.arange(64, dtype="u1").reshape(4, 4, 4), 0, False) + b"x", "1 bytes more"),
    "kind.cvol": (old_header((4, 4, 4), 9, False) + bytes(64), "type 9"),
    "block.cvol": (old_header((9, 9, 9), 0, True) + struct.pack("<i", 99), "cut off"),
    "damaged.cvol": (old_header((9, 9, 9), 0, True) + struct.pack("<i", 8) + b"\xff" * 8, "is damaged"),
    "name.cvol": (new_header(1, False) + struct.pack("<i", -5), "-5 characters"),
    "version.cvol": (new_header(1, False, version=7), "version 7"),
    "no.cvol": (b"no volume at all", "is no .cvol file"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_lying_files_are_refused_before_memory_is_taken(name: str, tmp_path: Path) -> None:
    content, sentence = HOSTILE[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(VolumeError, match=sentence) as caught:
        volume_reader(tmp_path / name).read()
    assert name in str(caught.value)
