"""Decoding one NNC bitstream (ISO/IEC 15938-17), alone or as the child process of :mod:`nerfcomp.codec.sandbox`.

The native decoder gets no buffer length, so on a hostile stream it may read wild memory, divide by zero or loop. This
file therefore runs as a script of its own: it imports numpy and ``nncodec.nnc_core`` only, starts in a fraction of a
second, limits itself before it looks at a single byte of a stream, and writes plain arrays to its standard output.

Notation: a *stream* is one ``.nnc`` bitstream that holds one or more named tensors.
"""

import importlib.util
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from nncodec import nnc_core

DTYPES = {"float32": np.dtype("<f4"), "int32": np.dtype("<i4")}
_MEMORY_IN_USE = "/proc/self/statm"  # Linux; elsewhere the address space is not limited
Manifest = Sequence[tuple[str, str, tuple[int, ...]]]


def decode_stream(data: bytes) -> dict[str, np.ndarray]:
    """Decode one NNC stream in this process. Only for bytes that you trust: see :mod:`nerfcomp.codec.sandbox`.

    Args:
        data: A whole ``.nnc`` bitstream.

    Returns:
        Arrays by name in coded order: float32 for quantized tensors, int32 for lossless ones. Local scaling is folded
        into its weight, ``float32(scale) * float32(weight)``, and not returned itself.

    Raises:
        Exception: Any kind, as nncodec raises nearly every builtin one on damaged input.

    >>> from nerfcomp.codec.nnc import encode_nnc
    >>> decode_stream(encode_nnc({"bias": np.array([0.5, -0.25], np.float32)}, qp=-20))
    {'bias': array([ 0.5 , -0.25], dtype=float32)}
    """
    model_info: dict[str, Any] = {
        "parameter_type": {},
        "parameter_dimensions": {},
        "parameter_index": {},
        "block_identifier": {},
        "topology_storage_format": None,
        "topology_compression_format": None,
        "performance_maps": {"mps": {}, "lps": {}},
        "performance_map_flags": {
            f"{scope}_{flag}_flag": {}
            for scope in ("mps", "lps")
            for flag in ("sparsification", "pruning", "unification", "decomposition_performance_map")
        },
    }
    coded = nnc_core.coder.decode(bytearray(data), model_info, hls_stats={})
    nnc_core.approximator.rec(coded)
    nnc_core.approximator.apply_lsa(model_info, coded)
    return dict(coded["parameters"])


def check_tensors(tensors: dict[str, np.ndarray], manifest: Manifest) -> None:
    """Compare decoded tensors with what the file's header promised.

    Args:
        tensors: Arrays by name, as :func:`decode_stream` returns them.
        manifest: ``(name, dtype, shape)`` of every tensor that must be there.

    Raises:
        ValueError: A tensor is missing, foreign, of another shape or type, or holds NaN or infinity.

    >>> check_tensors({"bias": np.zeros(2, np.float32)}, [("bias", "float32", (3,))])
    Traceback (most recent call last):
    ...
    ValueError: tensor 'bias' is float32 (2,), but the header says float32 (3,)
    """
    if list(tensors) != [name for name, _, _ in manifest]:
        raise ValueError(f"it holds the tensors {list(tensors)[:8]}, but the header promises others")
    for name, dtype, shape in manifest:
        value = tensors[name]
        if value.dtype != DTYPES[dtype] or value.shape != tuple(shape):
            raise ValueError(f"tensor {name!r} is {value.dtype} {value.shape}, but the header says {dtype} {shape}")
        if not np.isfinite(value).all():
            raise ValueError(f"tensor {name!r} holds values that are not finite")


def _limit_process(memory: int, seconds: int, output: int) -> None:
    """Limit this process: ``memory`` bytes on top of what it holds now, ``seconds`` of CPU, ``output`` bytes a file."""
    try:
        import resource
    except ImportError:  # Windows has no such limits; the parent still watches the clock
        return
    wanted = {resource.RLIMIT_CPU: seconds, resource.RLIMIT_FSIZE: output, resource.RLIMIT_CORE: 0}
    if os.path.exists(_MEMORY_IN_USE):
        with open(_MEMORY_IN_USE, encoding="ascii") as file:
            wanted[resource.RLIMIT_AS] = int(file.read().split()[0]) * resource.getpagesize() + memory
    for kind, value in wanted.items():
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))


def _confine(*keep: int) -> None:
    """Give up all that decoding does not need; see the neighbouring file, which the child finds beside its own."""
    place = Path(__file__).with_name("confinement.py")
    spec = importlib.util.spec_from_file_location("confinement", place)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.confine((0, 1, 2, *keep))


def main() -> int:
    """Read a job from standard input and write its tensors to standard output, or one sentence to standard error."""
    source = sys.stdin.buffer
    output, errors = os.dup(1), os.dup(2)
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)  # nncodec talks on standard output, from Python and from C++
    os.dup2(silence, 2)
    job = json.loads(source.readline())
    _limit_process(job["memory"], job["seconds"], job["output"])
    try:
        _confine(output, errors)
        with open(output, "wb") as sink:
            for stream in job["streams"]:
                manifest = [(name, dtype, tuple(shape)) for name, dtype, shape in stream["tensors"]]
                tensors = decode_stream(source.read(stream["bytes"]))
                check_tensors(tensors, manifest)
                for name, dtype, _ in manifest:
                    sink.write(np.ascontiguousarray(tensors.pop(name), dtype=DTYPES[dtype]).data)
    except BaseException as error:  # whatever it is, the parent turns it into a sentence
        os.write(errors, f"{type(error).__name__}: {error}".encode("utf-8", "replace")[:500])
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
