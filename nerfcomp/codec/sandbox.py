"""Decoding NNC streams in a child process that may crash, hang or eat memory without anybody noticing but its parent.

Notation: a *job* is the list of NNC sections that one child decodes; children run side by side.
"""

import errno
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from nerfcomp.codec.container import ITEM_BYTES, Section
from nerfcomp.codec.decoder import DTYPES, check_tensors, decode_stream
from nerfcomp.codec.header import element_count
from nerfcomp.errors import ContainerError

PARALLEL_ELEMENTS = 2**21
_ENVIRONMENT = {  # threads would only take address space; without assertions nncodec checks nothing
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "PYTHONOPTIMIZE": "",
}
_PASSED = (
    "LD_LIBRARY_PATH",
    "PYTHONHOME",
    "PYTHONPATH",
    "SYSTEMROOT",
    "TMPDIR",
)  # nothing else is the child's business
_CHILD = Path(__file__).with_name("decoder.py")


class Limits(NamedTuple):
    """What a child may use: ``memory`` bytes of address space and ``seconds``; both grow with what it decodes."""

    memory: int = 512 * 2**20
    seconds: float = 30.0
    bytes_per_element: int = 24
    seconds_per_element: float = 1e-6


class _Child(NamedTuple):
    process: subprocess.Popen[bytes]
    sections: Sequence[Section]
    output: IO[bytes]
    errors: IO[bytes]
    deadline: float


def decode_natively(
    sections: Sequence[Section], trust: bool = False, limits: Limits = Limits()
) -> dict[str, np.ndarray]:
    """Decode NNC sections and check every tensor against what the header promised.

    Args:
        sections: Sections of kind ``nnc`` of one file.
        trust: Decode in this process: faster to start, and a hostile stream may crash it.
        limits: Memory and time that a child may use.

    Returns:
        Float32 and int32 arrays by name, in the order of the sections.

    Raises:
        ContainerError: A stream cannot be decoded within the limits or holds something else than promised.

    >>> from nerfcomp.codec.container import TensorSpec
    >>> from nerfcomp.codec.nnc import encode_nnc
    >>> data = encode_nnc({"bias": np.array([0.5, -0.25], np.float32)}, qp=-20)
    >>> decode_natively([Section("mlp", "nnc", data, (TensorSpec("bias", "float32", (2,)),))], trust=True)
    {'bias': array([ 0.5 , -0.25], dtype=float32)}
    """
    if not sections:
        return {}
    if trust:
        tensors: dict[str, np.ndarray] = {}
        for section in sections:
            tensors.update(_decode_here(section))
        return tensors
    children = []
    try:
        for group in _split(sections):
            children.append(_start(group, limits))
        decoded = {name: value for child in children for name, value in _finish(child).items()}
        return {spec.name: decoded[spec.name] for section in sections for spec in section.tensors}
    finally:
        for child in children:
            child.process.kill()
            child.process.wait()
            child.output.close()
            child.errors.close()


def _decode_here(section: Section) -> dict[str, np.ndarray]:
    try:
        tensors = decode_stream(section.data)
        check_tensors(tensors, section.tensors)
    except Exception as error:  # nncodec raises nearly every builtin exception on damaged input
        raise ContainerError(f"Section {section.name!r} cannot be decoded: {type(error).__name__}: {error}.") from error
    return tensors


def _elements(section: Section) -> int:
    return sum(element_count(spec.shape) for spec in section.tensors)


def _split(sections: Sequence[Section]) -> list[list[Section]]:
    """Share the sections out over as many children as pay for their start, the largest first."""
    total = sum(_elements(section) for section in sections)
    count = max(1, min(os.cpu_count() or 1, 4, total // PARALLEL_ELEMENTS, len(sections)))
    groups: list[list[Section]] = [[] for _ in range(count)]
    for section in sorted(sections, key=lambda s: (-_elements(s), s.name)):
        min(groups, key=lambda group: sum(_elements(s) for s in group)).append(section)
    return [group for group in groups if group]


def _start(sections: Sequence[Section], limits: Limits) -> _Child:
    total = sum(_elements(section) for section in sections)
    size = sum(element_count(spec.shape) * ITEM_BYTES[spec.dtype] for s in sections for spec in s.tensors)
    seconds = limits.seconds + limits.seconds_per_element * total
    job = {
        "memory": limits.memory + limits.bytes_per_element * max(_elements(s) for s in sections),
        "seconds": int(seconds) + 1,
        "output": size + 4096,
        "streams": [{"bytes": len(s.data), "tensors": s.tensors} for s in sections],
    }
    environment = {key: os.environ[key] for key in _PASSED if key in os.environ} | _ENVIRONMENT
    output, errors = tempfile.TemporaryFile(), tempfile.TemporaryFile()
    with tempfile.TemporaryFile() as source:
        source.write(json.dumps(job).encode() + b"\n" + b"".join(s.data for s in sections))
        source.seek(0)
        process = subprocess.Popen(
            [sys.executable, "-P", str(_CHILD)], stdin=source, stdout=output, stderr=errors, env=environment
        )
    return _Child(process, sections, output, errors, time.monotonic() + seconds)


def _finish(child: _Child) -> dict[str, np.ndarray]:
    """Wait for one child and read the tensors it wrote."""
    names = ", ".join(section.name for section in child.sections)[:200]
    try:
        code = child.process.wait(max(0.0, child.deadline - time.monotonic()))
    except subprocess.TimeoutExpired as error:
        raise ContainerError(f"Decoding the sections {names} took too long; the file is damaged or hostile.") from error
    if code != 0:
        child.errors.seek(0)
        said = child.errors.read(500).decode("utf-8", "replace")
        if f"[Errno {errno.ENOSPC}]" in said:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), tempfile.gettempdir())
        reason = "".join(letter for letter in said if letter.isprintable()) or f"the decoder died with code {code}"
        raise ContainerError(f"The sections {names} cannot be decoded ({reason}); the file is damaged.")
    tensors = {}
    child.output.seek(0)
    for section in child.sections:
        for name, dtype, shape in section.tensors:
            value = np.fromfile(child.output, dtype=DTYPES[dtype], count=element_count(shape))
            if value.size != element_count(shape) or (dtype == "float32" and not np.isfinite(value).all()):
                raise ContainerError(f"Tensor {name!r} did not come back whole from the decoder.")
            tensors[name] = value.reshape(shape)
    if child.output.read(1):
        raise ContainerError(f"The sections {names} decode to more than the header promises.")
    return tensors
