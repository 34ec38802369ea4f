import os
import signal
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nerfcomp.codec import Container, Section, TensorSpec, from_bytes, read_container, to_bytes, write_container
from nerfcomp.errors import ContainerError
from tests.codec.samples import FIELD, container, header_length, rehash, with_header

NAMES = st.text("aZ09_.:/-", min_size=1, max_size=5)


@st.composite
def containers(draw: st.DrawFn) -> Container:
    names = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
    sections = []
    for name in names:
        kind = draw(st.sampled_from(["nnc", "raw", "bits"]))
        shape = tuple(draw(st.lists(st.integers(1, 5), min_size=4 if kind == "bits" else 1, max_size=4)))
        dtype = draw(st.sampled_from({"nnc": ["float32", "int32"], "raw": ["uint8"], "bits": ["bool"]}[kind]))
        size = int(np.prod(shape)) if kind == "raw" else draw(st.integers(0, 30))
        sections.append(
            Section(name, kind, draw(st.binary(min_size=size, max_size=size)), (TensorSpec(name, dtype, shape),))
        )
    extra = draw(st.dictionaries(NAMES.filter(lambda name: name not in ("field", "sections")), st.integers(-9, 9)))
    return Container({"field": FIELD, **extra}, tuple(sections))


@settings(max_examples=40, deadline=None)
@given(containers())
def test_round_trip(original: Container) -> None:
    data = to_bytes(original)
    assert from_bytes(data) == original
    assert Container.from_bytes(data).to_bytes() == data


def test_bytes_do_not_depend_on_the_order_of_keys() -> None:
    original = container()
    reordered = Container(dict(reversed(list(original.header.items()))), original.sections)
    assert to_bytes(reordered) == to_bytes(original)


def test_file_is_written_and_read(tmp_path: Path) -> None:
    path = tmp_path / "new" / "lego.nfc"
    assert write_container(path, container()) == path.stat().st_size == len(to_bytes(container()))
    assert read_container(path, classes={"NGPField"}) == container()
    assert [entry.name for entry in path.parent.iterdir()] == ["lego.nfc"]


def test_messages_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "lego.nfc"
    path.write_bytes(b"nothing")
    with pytest.raises(ContainerError, match="lego.nfc: This is not a .nfc file"):
        read_container(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ContainerError, match=r"nowhere\.nfc cannot be read: No such file or directory"):
        read_container(tmp_path / "nowhere.nfc")


def test_huge_files_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.nfc"
    with open(path, "wb") as file:
        file.truncate(2**31 + 1)
    with pytest.raises(ContainerError, match="more than a .nfc file may have"):
        read_container(path)


@pytest.mark.parametrize("length", [0, 4, 8, 15, 16, 20, 47, 48, -33, -32, -1])
def test_cut_files_are_refused(length: int) -> None:
    data = to_bytes(container())
    with pytest.raises(ContainerError):
        from_bytes(data[:length])


def test_unknown_versions_are_named() -> None:
    data = to_bytes(container())
    with pytest.raises(ContainerError, match="has version 7, this program reads versions 1 to 3"):
        from_bytes(rehash(data[:8] + struct.pack("<I", 7) + data[12:-32]))


@pytest.mark.parametrize("length", [0, 1, 2**20 + 1, 2**32 - 1])
def test_lying_header_lengths_are_refused(length: int) -> None:
    data = to_bytes(container())
    with pytest.raises(ContainerError, match="header"):
        from_bytes(rehash(data[:12] + struct.pack("<I", length) + data[16:-32]))


def test_one_flipped_bit_anywhere_is_noticed() -> None:
    data = to_bytes(container())
    for position in range(0, len(data), 7):
        damaged = bytearray(data)
        damaged[position] ^= 1 << position % 8
        with pytest.raises(ContainerError):
            from_bytes(bytes(damaged))


def edit_section(index: int, **values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda header: header["sections"][index].update(values)


def edit_tensor(part: int, value: Any) -> Callable[[dict[str, Any]], None]:
    def edit(header: dict[str, Any]) -> None:
        header["sections"][0]["tensors"][0][part] = value

    return edit


def edit_field(**values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda header: header["field"].update(values)


@pytest.mark.parametrize(
    "edit, sentence",
    [
        (lambda header: header.pop("field"), "class_path and init_args"),
        (lambda header: header.update(field="NGPField"), "class_path and init_args"),
        (edit_field(class_path="os.system"), "only nerfcomp.fields"),
        (edit_field(class_path="nerfcomp.fields.ngp.NGPField"), "only nerfcomp.fields"),
        (edit_field(class_path="nerfcomp.fields.NGPField\n"), "only nerfcomp.fields"),
        (edit_field(class_path="nerfcomp.fields.__import__"), "only nerfcomp.fields"),
        (edit_field(class_path="nerfcomp.fields.Foreign"), "this program has NGPField"),
        (edit_field(class_path=["nerfcomp.fields.NGPField"]), "only nerfcomp.fields"),
        (edit_field(init_args=[1]), "init_args must be an object"),
        (lambda header: header.pop("sections"), "must list"),
        (lambda header: header.update(sections={}), "must list"),
        (lambda header: header["sections"].append(3), "one is not"),
        (lambda header: header["sections"][0].pop("name"), "one is not"),
        (lambda header: header["sections"][0].update(offset=0), "one is not"),
        (lambda header: header["sections"].pop(), "belong to no section"),
        (lambda header: header["sections"].append(header["sections"][0]), "more than the file has left"),
        (edit_section(0, name="grid.1"), "section twice"),
        (edit_section(0, name="../../etc/\0"), "not allowed"),
        (edit_section(0, name=None), "not allowed"),
        (edit_section(0, kind="pickle"), "of kind 'pickle'"),
        (edit_section(0, kind=["nnc"]), "of kind"),
        (edit_section(0, kind="bits"), "is of type"),
        (edit_section(0, bytes=-1), "not a number of bytes"),
        (edit_section(0, bytes=1.5), "not a number of bytes"),
        (edit_section(0, bytes=True), "not a number of bytes"),
        (edit_section(0, bytes="12"), "not a number of bytes"),
        (edit_section(0, bytes=2**40), "not a number of bytes"),
        (edit_section(0, bytes=2**31), "more than the file has left"),
        (edit_section(0, bytes=0), "belong to no section"),
        (edit_section(0, tensors=[]), "must list 1 to"),
        (edit_section(0, tensors="abc"), "must list 1 to"),
        (edit_section(0, tensors=[["a", "float32", [1]]] * 5000), "must list 1 to"),
        (edit_section(0, tensors=[["a", "float32"]]), "name, type and shape"),
        (edit_tensor(0, "levels.1.weight"), "tensor twice"),
        (edit_tensor(0, "a\nb"), "not allowed"),
        (edit_tensor(0, 7), "not allowed"),
        (edit_tensor(1, "float16"), "nnc holds"),
        (edit_tensor(1, "object"), "nnc holds"),
        (edit_tensor(1, []), "nnc holds"),
        (edit_tensor(2, []), "positive sizes"),
        (edit_tensor(2, [0, 4]), "positive sizes"),
        (edit_tensor(2, [-3, -4]), "positive sizes"),
        (edit_tensor(2, [2.0, 3]), "positive sizes"),
        (edit_tensor(2, [True]), "positive sizes"),
        (edit_tensor(2, [1] * 9), "positive sizes"),
        (edit_tensor(2, [2**62, 2**62]), "tensor elements; at most"),
        (edit_tensor(2, [2**27 + 1]), "tensor elements; at most"),
        (lambda header: header["sections"][3]["tensors"][0].__setitem__(2, [16, 256]), "four dimensions"),
        (lambda header: header["sections"][4]["tensors"][0].__setitem__(2, [2, 4]), "but its tensors need 32"),
        (lambda header: header["sections"][4]["tensors"][0].__setitem__(1, "int64"), "but its tensors need 48"),
    ],
)
def test_headers_that_lie_are_refused_although_the_hash_fits(
    edit: Callable[[dict[str, Any]], None], sentence: str
) -> None:
    data = with_header(to_bytes(container()), edit)
    with pytest.raises(ContainerError, match=sentence):
        from_bytes(data, classes={"NGPField"})


def test_elements_are_limited_before_anything_is_allocated() -> None:
    data = to_bytes(container())
    total = sum(np.prod(spec.shape) for section in container().sections for spec in section.tensors)
    assert from_bytes(data, max_elements=int(total)) == container()
    with pytest.raises(ContainerError, match="at most"):
        from_bytes(data, max_elements=int(total) - 1)


def test_what_could_not_be_read_is_not_written(tmp_path: Path) -> None:
    section = Section("aabb", "raw", bytes(3), (TensorSpec("aabb", "float32", (1,)),))
    with pytest.raises(ContainerError, match="needs? 4|need 4"):
        write_container(tmp_path / "bad.nfc", Container({"field": FIELD}, (section,)))
    assert not list(tmp_path.iterdir())


def test_header_is_readable_text() -> None:
    data = to_bytes(container())
    assert data[16 : 16 + header_length(data)].startswith(b'{"field":{"class_path":"nerfcomp.fields.NGPField"')


KILLED_WRITER = """
import sys, time
from nerfcomp.files import atomic_write
with atomic_write(sys.argv[1]) as temporary, open(temporary, "wb") as file:
    file.write(b"half")
    file.flush()
    print("writing", flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
@pytest.mark.parametrize("before", [None, b"the file of yesterday"])
def test_a_writer_killed_in_the_middle_leaves_the_old_file_or_none(
    tmp_path: Path, repository: Path, before: bytes | None
) -> None:
    path = tmp_path / "lego.nfc"
    if before is not None:
        path.write_bytes(before)
    command = [sys.executable, "-c", KILLED_WRITER, str(path)]
    writer = subprocess.Popen(command, cwd=repository, stdout=subprocess.PIPE)
    assert writer.stdout is not None and writer.stdout.readline() == b"writing\n"
    writer.send_signal(signal.SIGKILL)
    writer.wait(10)
    writer.stdout.close()
    assert (path.read_bytes() if path.exists() else None) == before
    write_container(path, container())
    assert read_container(path) == container()
