"""The NNC sections of a file to tensors: by this package's decoder, or by nncodec's native one where that is chosen.

Notation: a *section* holds one NNC bitstream, and the file's header lists the tensors that it promises.
"""

import os
from collections.abc import Sequence

import numpy as np

from nerfcomp.codec.container import Section
from nerfcomp.codec.nnc_bits import StreamError
from nerfcomp.codec.nnc_decoder import Coded, decode_units, promised
from nerfcomp.codec.nnc_syntax import read_units
from nerfcomp.codec.sandbox import Limits, decode_natively
from nerfcomp.errors import ContainerError, SettingsError

DECODER = "NERFCOMP_DECODER"  # the variable of the environment that chooses


def decode_sections(
    sections: Sequence[Section], trust: bool = False, limits: Limits = Limits()
) -> dict[str, np.ndarray]:
    """Decode NNC sections and check every tensor against what the header promised, most of it before decoding.

    Args:
        sections: Sections of kind ``nnc`` of one file.
        trust: Where ``NERFCOMP_DECODER=native`` chooses nncodec's decoder: run it in this process, not in a child.
        limits: Memory and time of such a child.

    Returns:
        Float32 and int32 arrays by name, in the order of the sections.

    Raises:
        ContainerError: A stream cannot be decoded, or holds something else than promised.
        SettingsError: ``NERFCOMP_DECODER`` names no decoder.

    >>> from nerfcomp.codec.container import TensorSpec
    >>> from nerfcomp.codec.nnc import encode_nnc
    >>> data = encode_nnc({"bias": np.array([0.5, -0.25], np.float32)}, qp=-20)
    >>> decode_sections([Section("mlp", "nnc", data, (TensorSpec("bias", "float32", (2,)),))])
    {'bias': array([ 0.5 , -0.25], dtype=float32)}
    """
    chosen = os.environ.get(DECODER, "own")
    if chosen not in ("own", "native"):
        raise SettingsError(f"{DECODER} is {chosen!r} in the environment; set it to own or native, or unset it.")
    return decode_natively(sections, trust, limits) if chosen == "native" else _decode(sections)


def _decode(sections: Sequence[Section]) -> dict[str, np.ndarray]:
    jobs = []
    for section in sections:
        try:
            units = read_units(section.data)
            _check(promised(units), section)
        except StreamError as error:
            raise _damaged(section.name, error) from error
        jobs += [(section.data, unit) for unit in units]
    try:
        tensors = decode_units(jobs)
    except StreamError as error:
        raise _damaged(", ".join(section.name for section in sections)[:200], error) from error
    for name, value in tensors.items():
        if value.dtype == np.float32 and not np.isfinite(value).all():
            raise ContainerError(f"Tensor {name!r} holds values that are not finite; the file is damaged.")
    return tensors


def _check(found: Sequence[Coded], section: Section) -> None:
    """Compare what a stream holds with what the file's header says of it."""
    if [tensor.name for tensor in found] != [spec.name for spec in section.tensors]:
        names = [tensor.name[:40] for tensor in found[:8]]
        raise StreamError(f"it holds the tensors {names}, but the header promises others")
    for tensor, spec in zip(found, section.tensors):
        if tensor != tuple(spec):
            raise StreamError(
                f"tensor {spec.name!r} is {tensor.dtype} {tensor.shape}, but the header says {spec.dtype} {spec.shape}"
            )


def _damaged(what: str, error: StreamError) -> ContainerError:
    return ContainerError(f"Section {what!r} cannot be decoded: {error}. The file is damaged, or was made elsewhere.")
