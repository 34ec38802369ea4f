"""The parent's side of the sandbox, with decoders that misbehave in every way."""

from pathlib import Path

import numpy as np
import pytest

from nerfcomp.codec import Section, TensorSpec, encode_nnc, sandbox
from nerfcomp.codec.sandbox import Limits, decode_natively
from nerfcomp.errors import ContainerError
from tests.codec.samples import container, ramp, unit_edges

ROGUES = {
    "crash": ("import os, signal; os.kill(os.getpid(), signal.SIGFPE)", "died with code -8"),
    "hang": ("import time; time.sleep(60)", "took too long"),
    "spin": ("while True: pass", "took too long"),
    "silent": ("", "did not come back whole"),
    "short": ("import os; os.write(1, bytes(15))", "did not come back whole"),
    "long": ("import os; os.write(1, bytes(17))", "more than the header promises"),
    "nan": ("import os; os.write(1, b'\\xff' * 16)", "did not come back whole"),
    "sentence": (
        r"import os, sys; os.write(2, b'\x1b[31mMemoryError: no \x07luck'); sys.exit(1)",
        r"\(\[31mMemoryError",
    ),
}


def section(data: bytes, shape: tuple[int, ...] = (2, 2), name: str = "w") -> Section:
    return Section("grid", "nnc", data, (TensorSpec(name, "float32", shape),))


@pytest.mark.slow
@pytest.mark.parametrize("rogue", ROGUES)
def test_every_misbehaviour_becomes_a_sentence(rogue: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, sentence = ROGUES[rogue]
    script = tmp_path / "decoder.py"
    script.write_text(code)
    monkeypatch.setattr(sandbox, "_CHILD", script)
    with pytest.raises(ContainerError, match=sentence):
        decode_natively([section(b"data")], limits=Limits(seconds=1.5))


def test_child_and_parent_decode_alike() -> None:
    sections = [section for section in container().sections if section.kind == "nnc"]
    inside, outside = decode_natively(sections, trust=True), decode_natively(sections)
    assert list(inside) == list(outside)
    for name in inside:
        np.testing.assert_array_equal(inside[name], outside[name])


def test_children_side_by_side_decode_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    sections = [section for section in container().sections if section.kind == "nnc"]
    monkeypatch.setattr(sandbox, "PARALLEL_ELEMENTS", 1)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    assert len(sandbox._split(sections)) == 2
    decoded = decode_natively(sections)
    for name, value in decode_natively(sections, trust=True).items():
        np.testing.assert_array_equal(decoded[name], value)


@pytest.mark.parametrize("trust", [False, True])
@pytest.mark.parametrize(
    "promise, sentence",
    [
        (TensorSpec("w", "float32", (5, 4)), r"but the header says float32 \(5, 4\)"),
        (TensorSpec("w", "int32", (4, 5)), "but the header says int32"),
        (TensorSpec("v", "float32", (4, 5)), "promises others"),
    ],
)
def test_streams_that_break_the_promise_are_refused(promise: TensorSpec, sentence: str, trust: bool) -> None:
    data = encode_nnc({"w": ramp((4, 5))}, -20)
    with pytest.raises(ContainerError, match=sentence):
        decode_natively([Section("grid", "nnc", data, (promise,))], trust)


@pytest.mark.parametrize("trust", [False, True])
def test_tensors_lost_at_a_unit_boundary_are_noticed(trust: bool) -> None:
    data = encode_nnc({"a": ramp((4, 5)), "b": ramp((3,))}, -20)
    cut = Section(
        "net",
        "nnc",
        data[: unit_edges(data)[-2]],
        (TensorSpec("a", "float32", (4, 5)), TensorSpec("b", "float32", (3,))),
    )
    with pytest.raises(ContainerError, match="promises others"):
        decode_natively([cut], trust)


@pytest.mark.slow
def test_streams_that_ask_for_too_much_memory_are_refused() -> None:
    data = encode_nnc({"w": np.zeros((4096, 1024), np.float32)}, -20)
    with pytest.raises(ContainerError, match="MemoryError|allocate"):
        decode_natively([section(data, (2, 2))], limits=Limits(memory=4 * 2**20, bytes_per_element=0))


def test_nothing_to_decode_starts_no_child() -> None:
    assert decode_natively([]) == {}


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ContainerError):
        decode_natively([section(encode_nnc({"w": ramp((40, 50))}, -20)[:-30])])
    assert capfd.readouterr() == ("", "")
