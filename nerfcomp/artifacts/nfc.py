"""Trained fields in ``.nfc`` files: encode and decode side by side.

Every parameter of the network goes through the NNC coder under its allocated QP; grid levels and large networks have a
section each, the rest shares one. What the artifact carries beside weights, such as an occupancy, is coded exactly. The
header carries the artifact's description, so that a file can be used without any other.
"""

import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from nerfcomp import __version__
from nerfcomp.artifacts.artifact import Artifact
from nerfcomp.artifacts.coded_tensors import SideQP, coded_tensors, integer_tensors, sections_of, side_qps, weights_of
from nerfcomp.artifacts.kinds import rebuild
from nerfcomp.codec import (
    Container,
    Quantized,
    Storage,
    decode,
    dequantize,
    encode,
    quantize,
    read_container,
    step_size,
    write_container,
)
from nerfcomp.codec.container import TENSORS
from nerfcomp.compression import bake, plain_parameters
from nerfcomp.errors import ContainerError
from nerfcomp.fields import integer_layers
from nerfcomp.limits import MOST_ELEMENTS

A = TypeVar("A", bound=Artifact)
_CODED, _PLAIN = "integers", "integer_layers"  # sections of integer layers
_ROWS = "read_rows"  # key of the header: weights are without the rows that `Artifact.read_rows` leaves out
_LEAST = 0.1  # of the mean: a value that none of the sampled rays read may matter to another ray


class BitAllocation(NamedTuple):
    """How each parameter of a field is quantized.

    Attributes:
        qp: QP of every tensor that `coded_tensors` names.
        rd_lambda: What a bit may cost in distortion, as a fraction of ``mean sensitivity * step^2``; 0 quantizes each
            value to the nearest.
        sensitivity: Of the tensors that are quantized with it, same shapes.
        dependent: Quantize with the trellis; not for weights that training has rounded to multiples of their steps.
    """

    qp: dict[str, int]
    rd_lambda: float = 0.0
    sensitivity: dict[str, Tensor] | None = None
    dependent: bool = True


def uniform_allocation(trained: Artifact, qp: int, side: SideQP = SideQP()) -> BitAllocation:
    """Give every weight the same QP."""
    tensors = coded_tensors(trained.field)
    return BitAllocation(dict.fromkeys(weights_of(tensors), qp) | side_qps(tensors, side))


def quantize_parameter(
    allocation: BitAllocation, name: str, parameter: Tensor, rows: Tensor | None = None
) -> Quantized:
    """Quantize one parameter as allocated; with an ``rd_lambda``, values that hardly a ray reads move towards zero.

    Args:
        allocation: How.
        name: Of the parameter.
        parameter: Its values.
        rows: (rows,) bool, the rows to quantize; all when absent.
    """
    chosen = slice(None) if rows is None else rows
    values, qp = parameter.detach().cpu().float()[chosen].numpy(), allocation.qp[name]
    if allocation.rd_lambda == 0.0 or allocation.sensitivity is None or name not in allocation.sensitivity:
        return quantize(values, qp, allocation.dependent, name=name)
    sensitivity = allocation.sensitivity[name].cpu().float()[chosen]
    read = sensitivity[sensitivity > 0]
    mean = float(read.double().mean()) if len(read) else 1.0
    rd_lambda = allocation.rd_lambda * mean * step_size(qp) ** 2
    return quantize(
        values, qp, rd_lambda=rd_lambda, sensitivity=sensitivity.clamp(min=_LEAST * mean).numpy(), name=name
    )


def quantize_parameters(
    allocation: BitAllocation, parameters: Mapping[str, Tensor], rows: Mapping[str, Tensor]
) -> dict[str, Quantized]:
    """Quantize parameters, or some rows of them, side by side: the search for levels lets other threads run."""
    with ThreadPoolExecutor(max_workers=max(torch.get_num_threads(), 1)) as pool:
        jobs = {
            name: pool.submit(quantize_parameter, allocation, name, values, rows.get(name))
            for name, values in parameters.items()
        }
        return {name: job.result() for name, job in jobs.items()}


def quantize_field(trained: A, allocation: BitAllocation) -> A:
    """Give every parameter, in place, the value that a decoder would give it; hooks that it does not know are baked.

    Args:
        trained: Field, sampler and scene.
        allocation: How each parameter is quantized.

    Returns:
        The same with these QPs, under which it is to be encoded: its weights do not change once more then.
    """
    bake(trained.field, keep_carried=True)
    read = trained.read_rows()
    with torch.no_grad():
        for name, parameter in plain_parameters(trained.field).items():
            quantized = quantize_parameter(allocation, name, parameter, read.get(name))
            _fill(parameter, torch.from_numpy(dequantize(quantized)), read.get(name))
    return trained.replace(qp=dict(allocation.qp))


def fp32_bytes(trained: Artifact) -> int:
    """Bytes of the field's parameters as float32, without hooks and scales: what ratios are measured against."""
    scales = {f"{name}.scale" for name in integer_layers(trained.field)}
    parameters = plain_parameters(trained.field).items()
    return sum(4 * parameter.numel() for name, parameter in parameters if name not in scales)


def encode_artifact(
    trained: Artifact,
    allocation: BitAllocation,
    provenance: Mapping[str, Any] | None = None,
    plain_integers: bool = False,
) -> Container:
    """Encode a field with all that rendering it needs.

    Args:
        trained: Field, sampler and scene.
        allocation: How each parameter is quantized.
        provenance: JSON values to keep in the header, such as the training command and measured PSNR.
        plain_integers: Keep the weights of integer layers a byte each instead of coding them.

    Returns:
        The container; the same bytes for the same input.

    Raises:
        ValueError: A value cannot be coded (not finite, or too large for its QP), or the model is not in the form that
            `Artifact.for_coding` gives it.
    """
    if trained.for_coding() is not trained:
        raise ValueError(f"This {trained.kind} is not in the form that is coded: call `for_coding` on it first.")
    sections, own = sections_of(trained.field), plain_parameters(trained.field)
    tensors: dict[str, np.ndarray | Quantized] = {}
    storage: dict[str, Storage] = {}
    read = trained.read_rows()
    for name, quantized in quantize_parameters(allocation, coded_tensors(trained.field), read).items():
        tensors[name] = quantized
        storage[name] = Storage(sections[name], allocation.qp[name], folds=name not in own)
    for name, value in integer_tensors(trained.field).items():
        tensors[name] = value.cpu().numpy()
        coded = value.dtype == torch.int8 and not plain_integers
        storage[name] = Storage(_CODED, 0) if coded else Storage(_PLAIN)
    for name, value in trained.exact_tensors().items():
        tensors[name] = value.cpu().numpy()
        storage[name] = Storage(name, pyramid=value.dtype == torch.int32 and value.dim() == 3)
    header = {**trained.replace(qp=None).for_file().describe(), "writer": f"nerfcomp {__version__}"}
    header.pop("hooks", None)  # what is decoded has none
    header |= {"provenance": dict(provenance)} if provenance else {}
    header |= {_ROWS: True} if read else {}
    return Container(header, encode(tensors, storage), trained.compact)


def decode_artifact(container: Container, trust: bool = False, max_elements: int = MOST_ELEMENTS) -> Artifact:
    """Decode a field, ready to render.

    Args:
        container: A checked container.
        trust: Run the native decoder, where it is chosen, in this process instead of a limited child.
        max_elements: Most weights of a model whose file leaves rows out.

    Returns:
        Field, sampler and scene.

    Raises:
        ContainerError: The file does not hold exactly the tensors that its field needs.
    """
    if container.header.get("kind") == TENSORS:
        raise ContainerError(
            "The file holds tensors of a module that it does not name: `nerfcomp.decode` returns them."
        )
    promised = {spec.name: spec.shape for section in container.sections for spec in section.tensors}
    held, short = sum(math.prod(shape) for shape in promised.values()), container.header.get(_ROWS) is True
    trained = rebuild(container.header, max_elements if short else held).replace(qp=None)
    expected = {name: tuple(parameter.shape) for name, parameter in trained.field.named_parameters()}
    exact = trained.exact_shapes(promised)
    _check_shapes(trained, promised, expected | exact, short)
    tensors = decode(container, trust)
    trained = trained.with_exact_tensors({name: torch.from_numpy(tensors[name]) for name in exact})
    read = trained.read_rows() if short else {}
    lengths = {name: (int(rows.sum()), *expected[name][1:]) for name, rows in read.items()}
    _check_shapes(trained, promised, expected | exact | lengths)
    with torch.no_grad():
        for name, parameter in trained.field.named_parameters():
            values = torch.from_numpy(tensors[name])
            if parameter.dtype == torch.int8 and (values.is_floating_point() or bool((values.int().abs() > 127).any())):
                raise ContainerError(f"Tensor {name!r} holds what is no whole number from -127 to 127.")
            _fill(parameter, values, read.get(name))
    return trained


def _fill(parameter: Tensor, values: Tensor, rows: Tensor | None) -> None:
    """Write values into a parameter, or into some of its rows; the others become zero."""
    if rows is None:
        parameter.copy_(values.reshape(parameter.shape))
    else:
        parameter.zero_()[rows.to(parameter.device)] = values.to(parameter)


def _check_shapes(
    trained: Artifact,
    promised: Mapping[str, tuple[int, ...]],
    expected: Mapping[str, tuple[int, ...]],
    short: bool = False,
) -> None:
    """Compare the shapes that a file promises with those that a model needs.

    Args:
        trained: The model.
        promised: Shapes by name.
        expected: Shapes by name.
        short: Tensors may have fewer rows.

    Raises:
        ContainerError: They differ.
    """

    def fits(name: str) -> bool:
        held, needed = promised.get(name), expected.get(name)
        shorter = held and needed and held[1:] == needed[1:] and held[0] <= needed[0]
        return held == needed or (short and bool(shorter))

    wrong = sorted(name for name in promised.keys() | expected.keys() if not fits(name))
    if wrong:
        raise ContainerError(
            f"The file's tensors do not fit its {type(trained.field).__name__}: {', '.join(wrong[:8])}."
        )


def write_nfc(container: Container, path: str | Path) -> int:
    """Write a container under its final name, whole or not at all; returns its bytes."""
    write_container(path, container)
    return Path(path).stat().st_size


def read_nfc(path: str | Path, trust: bool = False, max_elements: int = MOST_ELEMENTS) -> Artifact:
    """Read and decode a ``.nfc`` file.

    Args:
        path: The file.
        trust: Run the native decoder, where it is chosen, in this process instead of a limited child.
        max_elements: Most numbers that come out; a file of a few kilobytes may hold any number of zeros.

    Raises:
        ContainerError: The file is missing, damaged or not allowed.
    """
    return decode_artifact(read_container(path, max_elements=max_elements), trust, max_elements)
