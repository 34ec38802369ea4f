"""Sections to tensors: by this package's decoder unless the native one is asked for."""

import numpy as np
import pytest

from nerfcomp.codec import Section, TensorSpec, encode_nnc, sandbox, streams
from nerfcomp.codec.streams import decode_sections
from nerfcomp.errors import ContainerError, SettingsError
from tests.codec.samples import container, ramp, unit_edges


def section(data: bytes, *specs: TensorSpec) -> Section:
    return Section("grid", "nnc", data, specs)


def test_no_native_code_sees_a_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nncodec.nnc_core.coder.decode", None)
    monkeypatch.setattr("subprocess.Popen", None)
    assert len(decode_sections([section for section in container().sections if section.kind == "nnc"])) == 6


def test_the_native_decoder_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    sections = [section for section in container().sections if section.kind == "nnc"]
    ours = decode_sections(sections)
    monkeypatch.setenv(streams.DECODER, "native")
    monkeypatch.setattr(streams, "decode_units", None)
    for trust in (False, True):
        theirs = decode_sections(sections, trust)
        assert list(theirs) == list(ours)
        assert all(theirs[name].tobytes() == ours[name].tobytes() for name in ours)


def test_a_decoder_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(streams.DECODER, "abacus")
    with pytest.raises(SettingsError, match="'abacus'.*own or native"):
        decode_sections([])


@pytest.mark.parametrize(
    "promise, sentence",
    [
        (TensorSpec("w", "float32", (5, 4)), r"but the header says float32 \(5, 4\)"),
        (TensorSpec("w", "int32", (4, 5)), "but the header says int32"),
        (TensorSpec("v", "float32", (4, 5)), "promises others"),
    ],
)
def test_a_broken_promise_is_noticed_before_decoding(
    promise: TensorSpec, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "decode_units", None)
    with pytest.raises(ContainerError, match=sentence):
        decode_sections([section(encode_nnc({"w": ramp((4, 5))}, -20), promise)])


def test_tensors_lost_at_a_unit_boundary_are_noticed() -> None:
    data = encode_nnc({"a": ramp((4, 5)), "b": ramp((3,))}, -20)
    specs = (TensorSpec("a", "float32", (4, 5)), TensorSpec("b", "float32", (3,)))
    with pytest.raises(ContainerError, match="promises others"):
        decode_sections([section(data[: unit_edges(data)[-2]], *specs)])


def test_nothing_is_allocated_for_shapes_that_the_header_does_not_promise() -> None:
    data = encode_nnc({"w": np.zeros((4096, 1024), np.float32)}, -20)
    with pytest.raises(ContainerError, match="4096, 1024"):
        decode_sections([section(data, TensorSpec("w", "float32", (2, 2)))])


def test_steps_beyond_float32_are_refused() -> None:
    data = bytearray(encode_nnc({"w": np.ones(2, np.float32)}, 127))
    place = 8 * (unit_edges(bytes(data))[1] + 2) + 17 + 7 + 3  # the parameter that is added to all, 13 bits
    whole = int.from_bytes(data, "big")
    shift = 8 * len(data) - place - 13
    changed = (whole & ~(8191 << shift) | 4000 << shift).to_bytes(len(data), "big")
    with pytest.raises(ContainerError, match="not finite"):
        decode_sections([section(changed, TensorSpec("w", "float32", (2,)))])


def test_nothing_to_decode_is_nothing() -> None:
    assert decode_sections([]) == sandbox.decode_natively([]) == {}
