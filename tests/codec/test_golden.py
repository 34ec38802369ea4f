"""Bytes that must never change unnoticed: files written today must be read by every later version."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nerfcomp.codec import decode, encode_nnc, from_bytes, to_bytes
from nerfcomp.codec.occupancy_coder import encode_occupancy
from tests.codec.samples import ball, container, ramp

Check = Callable[[str, bytes], None]


@pytest.mark.parametrize("dependent", [False, True])
def test_nnc_stream(check_expected: Check, dependent: bool) -> None:
    tensors = {"weight": ramp((64, 16)), "bias": ramp((16,)), "count": np.arange(-3, 9).reshape(3, 4)}
    check_expected(f"{'dependent' if dependent else 'plain'}.nnc", encode_nnc(tensors, -28, dependent))


def test_occupancy(check_expected: Check) -> None:
    check_expected("ball.bits", encode_occupancy(ball(24, cascades=2)))


def test_container_and_its_values(check_expected: Check) -> None:
    data = to_bytes(container())
    check_expected("small.nfc", data)
    check_expected("small.values", decoded_bytes(data))


def test_a_file_of_an_earlier_writer_is_read(repository: Path) -> None:
    folder = repository / "tests" / "expected" / "codec" / "earlier"
    assert decoded_bytes((folder / "small.nfc").read_bytes()) == (folder / "small.values").read_bytes()


def decoded_bytes(data: bytes) -> bytes:
    """All decoded values of a file, one after the other."""
    decoded = decode(from_bytes(data))
    return b"".join(value.astype(value.dtype.newbyteorder("<")).tobytes() for value in decoded.values())
