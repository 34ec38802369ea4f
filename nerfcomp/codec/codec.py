"""Named tensors to the sections of a ``.nfc`` file and back.

Notation: *storage* says for each tensor in which section it lies and how: quantized in an NNC stream, or exactly.
Sections hold what is used together, such as one grid level: coding and decoding work section by section.
"""

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

import numpy as np

from nerfcomp.codec.container import ITEM_BYTES, Container, Section, TensorSpec
from nerfcomp.codec.nnc import SCALING, coded_units, encode_nnc
from nerfcomp.codec.occupancy_coder import decode_occupancy, encode_occupancy
from nerfcomp.codec.pyramid_coder import decode_pyramid, encode_pyramid
from nerfcomp.codec.quantizers import Quantized
from nerfcomp.codec.sandbox import Limits
from nerfcomp.codec.streams import decode_sections
from nerfcomp.errors import ContainerError


class Storage(NamedTuple):
    """How one tensor is stored.

    Args:
        section: Name of its section; tensors of one section must be of one kind.
        qp: Quantization parameter of an NNC tensor; None keeps every value: 4-D bool grids as ``bits``, one to a
            section, everything else ``raw``.
        dependent: Quantize with the 8-state trellis (NNC tensors only).
        folds: Of a tensor ``X.weight_scaling`` beside ``X.weight``: it is the local scaling of that weight, which
            decoders multiply it into; otherwise a tensor like any other that comes back under its name.
        pyramid: An int32 tensor (X, Y, Z) of levels of a wavelet pyramid, coded as one, alone in its section.
    """

    section: str
    qp: int | None = None
    dependent: bool = True
    folds: bool = True
    pyramid: bool = False


def encode(tensors: Mapping[str, np.ndarray | Quantized], storage: Mapping[str, Storage]) -> tuple[Section, ...]:
    """Code tensors into sections.

    Args:
        tensors: By name, in the order in which they are to be stored. A :class:`Quantized` is coded as it is.
        storage: One entry for each of them.

    Returns:
        The sections, in the order in which ``tensors`` mentions them first; the same bytes for the same input.

    Raises:
        ValueError: A tensor without storage, a section of mixed kinds, or a tensor that cannot be coded.

    >>> bias = np.array([0.5, -0.25], np.float32)
    >>> (section,) = encode({"bias": bias}, {"bias": Storage("mlp", qp=-20)})
    >>> section.kind, section.tensors
    ('nnc', (TensorSpec(name='bias', dtype='float32', shape=(2,)),))
    """
    groups: dict[str, dict[str, np.ndarray | Quantized]] = {}
    for name, value in tensors.items():
        if name not in storage:
            raise ValueError(f"Tensor {name!r} has no storage; say how each of the tensors is to be stored.")
        groups.setdefault(storage[name].section, {})[name] = value
    return tuple(_encode_section(section, group, storage) for section, group in groups.items())


def decode(container: Container, trust: bool = False, limits: Limits = Limits()) -> dict[str, np.ndarray]:
    """Decode every tensor of a container.

    Args:
        container: A checked container.
        trust: Run the native decoder, where it is chosen, in this process instead of a limited child.
        limits: What a child process may use.

    Returns:
        Arrays by name, in the order of the sections, each of the type and shape that the header promises.

    Raises:
        ContainerError: A section does not hold what the header promises.

    >>> field = {"class_path": "nerfcomp.fields.NGPField", "init_args": {}}
    >>> sections = encode({"aabb": np.array([-1.0, 1.0], np.float32)}, {"aabb": Storage("scene")})
    >>> decode(Container({"field": field}, sections))
    {'aabb': array([-1.,  1.], dtype=float32)}
    """
    quantized = decode_sections([section for section in container.sections if section.kind == "nnc"], trust, limits)
    tensors: dict[str, np.ndarray] = {}
    for section in container.sections:
        if section.kind == "nnc":
            tensors.update({spec.name: quantized[spec.name] for spec in section.tensors})
        elif section.kind == "bits":
            tensors[section.tensors[0].name] = _decode_alone(section, decode_occupancy)
        elif section.kind == "pyramid":
            tensors[section.tensors[0].name] = _decode_alone(section, decode_pyramid)
        else:
            tensors.update(_decode_raw(section))
    return tensors


def unwrap(container: Container) -> dict[str, bytes]:
    """Return the bare NNC bitstreams of a container by section name; plain nncodec decodes each of them.

    >>> field = {"class_path": "nerfcomp.fields.NGPField", "init_args": {}}
    >>> sections = encode({"bias": np.zeros(2, np.float32)}, {"bias": Storage("mlp", qp=-20)})
    >>> unwrap(Container({"field": field}, sections))["mlp"] == sections[0].data
    True
    """
    return {section.name: section.data for section in container.sections if section.kind == "nnc"}


def _encode_section(name: str, group: Mapping[str, np.ndarray | Quantized], storage: Mapping[str, Storage]) -> Section:
    kinds = {tensor: _kind(value, storage[tensor]) for tensor, value in group.items()}
    if len(set(kinds.values())) > 1 or (len(group) > 1 and not {"nnc", "raw"} & set(kinds.values())):
        raise ValueError(f"Section {name!r} would hold {kinds}; give tensors of different kinds different sections.")
    kind = next(iter(kinds.values()))
    if kind == "nnc":
        return _encode_quantized(name, group, storage)
    arrays = {tensor: value for tensor, value in group.items() if not isinstance(value, Quantized)}
    if kind == "raw":
        return _encode_raw(name, arrays)
    ((tensor, value),) = arrays.items()
    data = encode_occupancy(value) if kind == "bits" else encode_pyramid(value)
    return Section(name, kind, data, (TensorSpec(tensor, value.dtype.name, value.shape),))


def _kind(value: np.ndarray | Quantized, storage: Storage) -> str:
    if isinstance(value, Quantized) or storage.qp is not None:
        return "nnc"
    if storage.pyramid:
        return "pyramid"
    return "bits" if value.dtype == bool and value.ndim == 4 else "raw"


def _encode_quantized(
    name: str, group: Mapping[str, np.ndarray | Quantized], storage: Mapping[str, Storage]
) -> Section:
    named = [name for name in group if name.endswith(SCALING) and not storage[name].folds]
    unscaled = [name.removesuffix(SCALING) for name in named]
    specs = []
    for tensor in decoded_names(group, unscaled):
        value = group[tensor]
        array = np.atleast_1d(value.levels if isinstance(value, Quantized) else value)
        floating = isinstance(value, Quantized) or array.dtype.kind == "f"
        specs.append(TensorSpec(tensor, "float32" if floating else "int32", array.shape))
    qps = {tensor: storage[tensor].qp or 0 for tensor in group}
    dependent = {tensor: storage[tensor].dependent for tensor in group}
    return Section(name, "nnc", encode_nnc(group, qps, dependent, unscaled), tuple(specs))


def decoded_names(names: Collection[str], unscaled: Collection[str] = ()) -> list[str]:
    """Names that come out of a section of these tensors, in coded order: a local scaling is folded into its weight.

    >>> decoded_names(["a.weight", "a.weight_scaling", "a.bias"])
    ['a.bias', 'a.weight']
    """
    units = coded_units(list(names), unscaled)
    return [name for unit in units for name in unit if len(unit) == 1 or not name.endswith(SCALING)]


def _decode_alone(section: Section, decoder: Callable[[bytes, tuple[int, ...]], np.ndarray]) -> np.ndarray:
    try:
        return decoder(section.data, section.tensors[0].shape)
    except ValueError as error:
        raise ContainerError(f"Section {section.name!r} cannot be decoded: {error}") from error


def _encode_raw(name: str, group: Mapping[str, np.ndarray]) -> Section:
    specs, data = [], b""
    for tensor, value in group.items():
        value = np.atleast_1d(value)
        if value.dtype.name not in ITEM_BYTES or (value.dtype.kind == "f" and not np.isfinite(value).all()):
            raise ValueError(f"Tensor {tensor!r} must be finite and of one of the types {', '.join(ITEM_BYTES)}.")
        specs.append(TensorSpec(tensor, value.dtype.name, value.shape))
        data += value.astype(value.dtype.newbyteorder("<")).tobytes()
    return Section(name, "raw", data, tuple(specs))


def _decode_raw(section: Section) -> dict[str, np.ndarray]:
    tensors, position = {}, 0
    for name, dtype, shape in section.tensors:
        size = ITEM_BYTES[dtype] * int(np.prod(shape))
        data = section.data[position : position + size]
        if dtype == "bool" and max(data) > 1:
            raise ContainerError(f"Tensor {name!r} of section {section.name!r} holds a byte that is no truth value.")
        value = np.frombuffer(data, np.dtype(dtype).newbyteorder("<")).astype(dtype)
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise ContainerError(f"Tensor {name!r} of section {section.name!r} holds values that are not finite.")
        tensors[name] = value.reshape(shape)
        position += size
    return tensors
