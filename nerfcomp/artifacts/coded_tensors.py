"""The tensors of a field as bitstreams hold them: their names, their sections, and what is no weight.

Notation: *weights* are tensors of two dimensions or more; *side tensors* are biases and the scales of local scaling.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor

from nerfcomp.codec.nnc import SCALING
from nerfcomp.codec.quantizers import check_qp
from nerfcomp.compression import carried_factors, coded_weights, linear_layers, plain_parameters
from nerfcomp.fields import Field, integer_layers

SHARED_SECTION = "small"
_OWN_SECTION_FROM = 2**14  # elements; below, the header entry of a section would cost more than it structures


class SideQP(NamedTuple):
    """QPs of side tensors: there are few of them, and each matters to a whole row."""

    scale: int = -48
    bias: int = -44


def coded_tensors(field: Field) -> dict[str, Tensor]:
    """All trained tensors of a field by the names that a bitstream gives them, without gradients.

    Args:
        field: With or without hooks.

    Returns:
        Parameters under their plain names, with the hooks that are baked into them; what hooks of ``X.weight`` carry
        as ``X.weight_scaling``, (out,). Those of integer layers are left out, see `integer_tensors`.

    Raises:
        ValueError: A hook can be neither baked nor carried.
    """
    exact = integer_tensors(field)
    parameters = plain_parameters(field).items()
    tensors = {name: parameter.detach() for name, parameter in parameters if name not in exact}
    scales = {f"{name}{SCALING}": factors for name, factors in carried_factors(field).items()}
    return tensors | coded_weights(field) | scales


def integer_tensors(field: Field) -> dict[str, Tensor]:
    """Tensors of integer layers, which are kept as they are: int8 weights, float32 scales and biases."""
    layers = integer_layers(field).items()
    return {f"{name}.{key}": value.detach() for name, layer in layers for key, value in layer.named_parameters()}


def weights_of(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those of some tensors that are weights."""
    return {name: value for name, value in tensors.items() if value.dim() > 1}


def side_qps(tensors: Mapping[str, Tensor], side: SideQP) -> dict[str, int]:
    """Give QPs to those of some tensors that are no weights."""
    names = [name for name, value in tensors.items() if value.dim() <= 1]
    return {name: side.scale if name.endswith(SCALING) else side.bias for name in names}


def sections_of(field: Field) -> dict[str, str]:
    """Choose the section of every coded tensor.

    A network of many weights (its linear layers with biases and scales) has a section of its own, and so has every
    other large tensor, such as a grid level; all the rest shares one.

    Returns:
        Section by tensor name.
    """
    layers = {name for name, _ in linear_layers(field)}
    groups: dict[str, list[str]] = {}
    tensors = coded_tensors(field)
    for name in tensors:
        layer = name.rpartition(".")[0]
        linear = f"{layer}.weight" in layers
        group = layer.partition(".")[0] if linear else name.removesuffix(SCALING).removesuffix(".weight")
        groups.setdefault(group, []).append(name)
    sections: dict[str, str] = {}
    for group, names in groups.items():
        small = sum(tensors[name].numel() for name in names if not name.endswith(SCALING)) < _OWN_SECTION_FROM
        sections |= dict.fromkeys(names, SHARED_SECTION if small else group)
    return sections


def checked_qp(values: Any) -> dict[str, int] | None:
    """Check QPs that a file gives by tensor name.

    Raises:
        ValueError: They are not given by name, or one is out of range.
    """
    if values is None:
        return None
    if not isinstance(values, Mapping) or not all(isinstance(name, str) for name in values):
        raise ValueError("QPs must be given by tensor name.")
    for name, qp in values.items():
        check_qp(name, qp)
    return dict(values)
