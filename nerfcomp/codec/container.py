r"""The ``.nfc`` file: everything that is needed to render one neural field, and nothing that runs.

Layout, integers little-endian::

    offset  bytes  content
    0       8      magic 89 4E 46 43 0D 0A 1A 0A  (text-mode copies break it visibly)
    8       4      version, 1; or 2 or 3, which :mod:`nerfcomp.codec.frame` describes
    12      4      H, length of the header
    16      H      header: JSON, UTF-8, keys sorted, no spaces
    16+H    ...    the sections one after another, in the order and with the lengths that the header lists
    end-32  32     SHA-256 of everything before it

The header holds ``field`` (``class_path`` in ``nerfcomp.fields`` and ``init_args``), or ``"kind": "tensors"`` where a
file holds tensors of a module that this program does not know; ``sections`` (kind, name, bytes and the tensors
inside); and whatever else the writer adds: rendering values, provenance.

Notation: a *section* is a run of bytes of one *kind*: ``nnc`` (an NNC bitstream), ``bits`` (an occupancy grid),
``pyramid`` (levels of wavelet coefficients), ``raw`` (little-endian arrays).
"""

import re
import stat
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from nerfcomp.codec.frame import framed, unframed
from nerfcomp.codec.header import MAX_TENSORS, dump_header, element_count, load_header
from nerfcomp.errors import ContainerError
from nerfcomp.files import atomic_write
from nerfcomp.limits import MOST_ELEMENTS, MOST_VOXELS

MAX_SECTIONS = 4096
MAX_FILE = 2**31
_WRITTEN = 2**31  # elements; who has them in memory may write them
ITEM_BYTES = {"float32": 4, "float16": 2, "int64": 8, "int32": 4, "uint8": 1, "int8": 1, "bool": 1}
TENSORS = "tensors"  # what the header's ``kind`` says of a file without a field
KIND_DTYPES = {"nnc": {"float32", "int32"}, "bits": {"bool"}, "pyramid": {"int32"}, "raw": set(ITEM_BYTES)}
_ALONE = {"bits": 4, "pyramid": 3}  # dimensions of the one tensor that such a section holds
_NUMBERS = {3: "three", 4: "four"}
_CLASS_PATH = re.compile(r"nerfcomp\.fields\.[A-Za-z][A-Za-z0-9_]{0,63}")
_NAME = re.compile(r"[A-Za-z0-9_.\-/:]{1,200}")


class TensorSpec(NamedTuple):
    """What the file promises about one tensor: its name, its shape and its type once decoded."""

    name: str
    dtype: str
    shape: tuple[int, ...]


class Section(NamedTuple):
    """One run of bytes: ``kind`` is nnc, bits or raw; ``tensors`` lists what comes out of ``data``, in coded order."""

    name: str
    kind: str
    data: bytes
    tensors: tuple[TensorSpec, ...]


class Container(NamedTuple):
    """A checked ``.nfc`` in memory: header without the section table, sections, whether the file is of version 2."""

    header: dict[str, Any]
    sections: tuple[Section, ...]
    compact: bool = False

    def to_bytes(self) -> bytes:
        """Serialize; the same bytes for the same content. See :func:`to_bytes`."""
        return to_bytes(self)

    @classmethod
    def from_bytes(cls, data: bytes, classes: Collection[str] | None = None) -> "Container":
        """Read a file's bytes. See :func:`from_bytes`."""
        return from_bytes(data, classes)


def to_bytes(container: Container) -> bytes:
    """Serialize a container.

    Args:
        container: Its header must hold ``field`` or ``kind``; ``sections`` is added here.

    Returns:
        The whole file, identical for identical content.

    Raises:
        ContainerError: A reader would refuse the result; the message says why.

    >>> field = {"class_path": "nerfcomp.fields.NGPField", "init_args": {}}
    >>> section = Section("aabb", "raw", bytes(8), (TensorSpec("aabb", "float32", (2,)),))
    >>> len(to_bytes(Container({"field": field}, (section,))))
    209
    """
    table = [
        {
            "bytes": len(section.data),
            "kind": section.kind,
            "name": section.name,
            "tensors": [[spec.name, spec.dtype, list(spec.shape)] for spec in section.tensors],
        }
        for section in container.sections
    ]
    header = dump_header({**container.header, "sections": table})
    data = framed(header, b"".join(section.data for section in container.sections), container.compact)
    from_bytes(data, max_elements=_WRITTEN)
    return data


def from_bytes(data: bytes, classes: Collection[str] | None = None, max_elements: int = MOST_ELEMENTS) -> Container:
    r"""Check a file's bytes completely, then split them. No tensor is decoded or allocated here.

    Args:
        data: The whole file.
        classes: Field classes that may be named, such as ``{"NGPField"}``; any name in ``nerfcomp.fields`` if None.
        max_elements: Largest number of tensor elements accepted, over all sections.

    Returns:
        The container; its sections' data are views-by-copy of ``data``.

    Raises:
        ContainerError: Not a ``.nfc`` file, damaged, of another version, or with a header that is not allowed.

    >>> from_bytes(b"GIF89a, perhaps")
    Traceback (most recent call last):
    ...
    nerfcomp.errors.ContainerError: This is not a .nfc file: it starts with b'GIF89a, ', not with b'\x89NFC\r\n\x1a\n'.
    """
    frame = unframed(data)
    header = load_header(frame.header)
    _check_kind(header, classes)
    table = header.pop("sections", None)
    if not isinstance(table, list) or len(table) > MAX_SECTIONS:
        raise ContainerError(f"The header must list up to {MAX_SECTIONS} sections; the file cannot be used.")
    sections = []
    position = frame.start
    for entry in table:
        name, kind, size, tensors = _checked_entry(entry)
        if size > frame.end - position:
            raise ContainerError(f"Section {name!r} claims {size} bytes, more than the file has left.")
        sections.append(Section(name, kind, bytes(data[position : position + size]), tensors))
        position += size
    if position != frame.end:
        raise ContainerError(f"{frame.end - position} bytes of the file belong to no section.")
    _check_unique(sections, max_elements)
    return Container(header, tuple(sections), frame.compact)


def write_container(path: str | Path, container: Container) -> int:
    """Write a ``.nfc`` file; a process killed meanwhile leaves no half file under ``path``.

    Args:
        path: Final name; its folder is made when missing.
        container: What to write.

    Returns:
        The file's size in bytes.

    Raises:
        ContainerError: The container could not be read back.
        OSError: The folder cannot be written.

    >>> import tempfile
    >>> field = {"class_path": "nerfcomp.fields.NGPField", "init_args": {}}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_container(folder + "/empty.nfc", Container({"field": field}, ()))
    ...     read_container(folder + "/empty.nfc").header == {"field": field}
    128
    True
    """
    data = to_bytes(container)
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)
    return len(data)


def read_container(
    path: str | Path, classes: Collection[str] | None = None, max_elements: int = MOST_ELEMENTS
) -> Container:
    """Read and check a ``.nfc`` file; see :func:`from_bytes` for the arguments.

    Raises:
        ContainerError: As :func:`from_bytes`, with the file's name in front, or the file is missing, not
            readable, or larger than 2 GiB.

    >>> read_container(__file__)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    nerfcomp.errors.ContainerError: ...container.py: This is not a .nfc file: it starts with...
    """
    path = Path(path)
    try:
        status = path.stat()
        size = status.st_size
        if not stat.S_ISREG(status.st_mode):
            raise ContainerError("This is no regular file; give the path of a .nfc file.")
        if size > MAX_FILE:
            raise ContainerError(f"{size} bytes is more than a .nfc file may have ({MAX_FILE}).")
        return from_bytes(path.read_bytes(), classes, max_elements)
    except OSError as error:
        raise ContainerError(f"{path} cannot be read: {error.strerror}. Mend the path.") from error
    except ContainerError as error:
        raise ContainerError(f"{path}: {error}") from error


def _check_kind(header: Mapping[str, Any], classes: Collection[str] | None) -> None:
    """Check what the file says it is of: a field, or tensors alone."""
    if header.get("kind") == TENSORS and "field" not in header:
        return
    if "kind" in header:
        raise ContainerError(
            f"The file is of kind {str(header['kind'])[:80]!r}; known is {TENSORS!r}, without a field."
        )
    _check_field(header.get("field"), classes)


def _check_field(field: Any, classes: Collection[str] | None) -> None:
    if not isinstance(field, Mapping) or set(field) != {"class_path", "init_args"}:
        raise ContainerError("The header must describe its field by class_path and init_args; it does not.")
    path = field["class_path"]
    if not isinstance(path, str) or not _CLASS_PATH.fullmatch(path):
        raise ContainerError(f"The file asks for the class {str(path)[:80]!r}; only nerfcomp.fields may be named.")
    if classes is not None and path.rsplit(".", 1)[1] not in classes:
        raise ContainerError(f"The file asks for {path!r}; this program has {', '.join(sorted(classes))}.")
    if not isinstance(field["init_args"], Mapping):
        raise ContainerError("The field's init_args must be an object of named arguments.")


def _checked_entry(entry: Any) -> tuple[str, str, int, tuple[TensorSpec, ...]]:
    """Check one row of the section table on its own."""
    if not isinstance(entry, Mapping) or set(entry) != {"bytes", "kind", "name", "tensors"}:
        raise ContainerError("A section must be listed with bytes, kind, name and tensors; one is not.")
    name, kind, size, tensors = entry["name"], entry["kind"], entry["bytes"], entry["tensors"]
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ContainerError(f"The section name {str(name)[:80]!r} is not allowed.")
    if not isinstance(kind, str) or kind not in KIND_DTYPES:
        raise ContainerError(f"Section {name!r} is of kind {str(kind)[:80]!r}; known are {', '.join(KIND_DTYPES)}.")
    if type(size) is not int or not 0 <= size <= MAX_FILE:
        raise ContainerError(f"Section {name!r} has a length of {str(size)[:80]}; that is not a number of bytes.")
    if not isinstance(tensors, list) or not 0 < len(tensors) <= MAX_TENSORS:
        raise ContainerError(f"Section {name!r} must list 1 to {MAX_TENSORS} tensors.")
    specs = tuple(_checked_spec(name, kind, tensor) for tensor in tensors)
    if kind in _ALONE and (len(specs) != 1 or len(specs[0].shape) != _ALONE[kind]):
        raise ContainerError(f"Section {name!r} must hold one grid of {_NUMBERS[_ALONE[kind]]} dimensions.")
    expected = sum(element_count(spec.shape) * ITEM_BYTES[spec.dtype] for spec in specs)
    if kind == "raw" and size != expected:
        raise ContainerError(f"Section {name!r} has {size} bytes, but its tensors need {expected}.")
    return name, kind, size, specs


def _checked_spec(section: str, kind: str, entry: Any) -> TensorSpec:
    if not isinstance(entry, list) or len(entry) != 3:
        raise ContainerError(f"A tensor of section {section!r} is not listed as name, type and shape.")
    name, dtype, shape = entry
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ContainerError(f"Section {section!r} lists a tensor under the name {str(name)[:80]!r}; not allowed.")
    if not isinstance(dtype, str) or dtype not in KIND_DTYPES[kind]:
        raise ContainerError(
            f"Tensor {name!r} is of type {str(dtype)[:80]!r}; {kind} holds {sorted(KIND_DTYPES[kind])}."
        )
    if not isinstance(shape, list) or not 0 < len(shape) <= 8 or any(type(n) is not int or n < 1 for n in shape):
        raise ContainerError(f"Tensor {name!r} has shape {str(shape)[:80]}; 1 to 8 positive sizes are allowed.")
    return TensorSpec(name, dtype, tuple(shape))


def _check_unique(sections: list[Section], max_elements: int) -> None:
    """Refuse names that occur twice and more elements than any field of ours could have."""
    specs = [spec for section in sections for spec in section.tensors]
    for kind, names in (("section", [s.name for s in sections]), ("tensor", [spec.name for spec in specs])):
        if len(set(names)) != len(names):
            raise ContainerError(f"The header lists a {kind} twice; the file cannot be used.")
    if len(specs) > MAX_TENSORS:
        raise ContainerError(f"The header lists {len(specs)} tensors; at most {MAX_TENSORS} are allowed.")
    pyramids = [spec for section in sections if section.kind == "pyramid" for spec in section.tensors]
    if len(pyramids) > 1 or any(element_count(spec.shape) > MOST_VOXELS for spec in pyramids):
        raise ContainerError(f"The header lists pyramids of coefficients; one of {MOST_VOXELS} voxels is allowed.")
    total = sum(element_count(spec.shape) for spec in specs if spec not in pyramids)
    if total > max_elements:
        raise ContainerError(
            f"The header asks for {total:,} tensor elements; at most {max_elements:,} are allowed. Raise max_elements "
            "for files that you trust."
        )
