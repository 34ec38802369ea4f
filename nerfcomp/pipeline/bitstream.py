"""Trained fields in ``.nfc`` files: encode and decode side by side.

Every parameter of the field goes through the NNC coder under the QP of its plan; grid levels and large networks have a
section each, the rest shares one. The sampler's occupancy is coded exactly, unless it follows from the field. The
header carries the descriptions of field, sampler and scene, so that a file renders without any other. Of the known
poses the first stays exact, in the header; some more, rounded, are a section: what weights mean to pictures is measured
from them when a file is encoded again.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from nerfcomp import __version__
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
from nerfcomp.compression import plain_parameters
from nerfcomp.errors import ContainerError
from nerfcomp.fields import LightField
from nerfcomp.pipeline.trained import SceneInfo, TrainedField, describe, rebuild
from nerfcomp.pipeline.weights import SideQP, coded_tensors, sections_of, side_qps, weights_of
from nerfcomp.readers.posed import spread

OCCUPANCY, POSES = "occupancy", "poses"
_MOST_POSES = 24
_FLOAT16_REACH = 2.0**15  # of a coordinate, beyond which poses keep all their digits
_LEAST = 0.1  # of the mean: a value that none of the sampled rays read may matter to another ray


class BitPlan(NamedTuple):
    """How each parameter of a field is quantized.

    Attributes:
        qp: QP of every tensor that `coded_tensors` names.
        price: What a bit may cost in distortion, as a fraction of ``mean sensitivity * step^2``; 0 quantizes each value
            to the nearest.
        sensitivity: Of the tensors that are to pay this price, same shapes.
    """

    qp: dict[str, int]
    price: float = 0.0
    sensitivity: dict[str, Tensor] | None = None


def uniform_plan(trained: TrainedField, qp: int, side: SideQP = SideQP()) -> BitPlan:
    """Give every weight the same QP."""
    tensors = coded_tensors(trained.field)
    return BitPlan(dict.fromkeys(weights_of(tensors), qp) | side_qps(tensors, side))


def quantize_parameter(plan: BitPlan, name: str, parameter: Tensor) -> Quantized:
    """Quantize one parameter as the plan says; with a price, values that hardly a ray reads move towards zero."""
    values, qp = parameter.detach().cpu().float().numpy(), plan.qp[name]
    if plan.price == 0.0 or plan.sensitivity is None or name not in plan.sensitivity:
        return quantize(values, qp, name=name)
    sensitivity = plan.sensitivity[name].cpu().float()
    read = sensitivity[sensitivity > 0]
    mean = float(read.double().mean()) if len(read) else 1.0
    price = plan.price * mean * step_size(qp) ** 2
    return quantize(values, qp, price=price, sensitivity=sensitivity.clamp(min=_LEAST * mean).numpy(), name=name)


def quantize_parameters(plan: BitPlan, parameters: Mapping[str, Tensor]) -> dict[str, Quantized]:
    """Quantize parameters side by side: the search for levels lets other threads run."""
    with ThreadPoolExecutor(max_workers=max(torch.get_num_threads(), 1)) as pool:
        jobs = {name: pool.submit(quantize_parameter, plan, name, values) for name, values in parameters.items()}
        return {name: job.result() for name, job in jobs.items()}


def quantize_field(trained: TrainedField, plan: BitPlan) -> TrainedField:
    """Give every parameter, in place, the value that a decoder would give it.

    Args:
        trained: Field, sampler and scene.
        plan: How each parameter is quantized.

    Returns:
        The same with the plan's QPs, under which it is to be encoded: its weights do not change once more then.
    """
    with torch.no_grad():
        for name, parameter in plain_parameters(trained.field).items():
            values = torch.from_numpy(dequantize(quantize_parameter(plan, name, parameter)))
            parameter.copy_(values.reshape(parameter.shape))
    return trained._replace(qp=dict(plan.qp))


def fp32_bytes(trained: TrainedField) -> int:
    """Bytes of the field's parameters as float32, hooks left out: what ratios are measured against."""
    return sum(4 * parameter.numel() for parameter in plain_parameters(trained.field).values())


def encode_trained(trained: TrainedField, plan: BitPlan, provenance: Mapping[str, Any] | None = None) -> Container:
    """Encode a field with all that rendering it needs.

    Args:
        trained: Field, sampler and scene.
        plan: How each parameter is quantized.
        provenance: JSON values to keep in the header, such as the training command and measured PSNR.

    Returns:
        The container; the same bytes for the same input.

    Raises:
        ValueError: A value cannot be coded (not finite, or too large for its QP), or a light field is not folded.
    """
    if isinstance(trained.field, LightField) and trained.field.batch_norm:
        raise ValueError("A light field is coded without its batch normalisation: call `folded` on it first.")
    sections = sections_of(trained.field)
    tensors: dict[str, np.ndarray | Quantized] = {}
    storage: dict[str, Storage] = {}
    for name, quantized in quantize_parameters(plan, coded_tensors(trained.field)).items():
        tensors[name] = quantized
        storage[name] = Storage(sections[name], plan.qp[name])
    if trained.sampler.carried:
        tensors[OCCUPANCY] = trained.sampler.occupied.cpu().numpy()
        storage[OCCUPANCY] = Storage(OCCUPANCY)
    if len(trained.scene.poses) > 1:
        tensors[POSES] = further_poses(trained.scene)
        storage[POSES] = Storage(POSES)
    scene = trained.scene._replace(poses=trained.scene.poses[:1])
    header = {**describe(trained._replace(scene=scene, qp=None)), "writer": f"nerfcomp {__version__}"}
    return Container(header | ({"provenance": dict(provenance)} if provenance else {}), encode(tensors, storage))


def further_poses(scene: SceneInfo) -> np.ndarray:
    """Poses that a file keeps beside the first: evenly spread, (V, 12) float16, which turns rays by 1e-3 at most."""
    chosen = spread(list(range(len(scene.poses))), _MOST_POSES)[1:]
    poses = np.array([scene.poses[view] for view in chosen], np.float32)
    return poses.astype(np.float16) if np.abs(poses).max() < _FLOAT16_REACH else poses


def decode_trained(container: Container, trust: bool = False) -> TrainedField:
    """Decode a field, ready to render.

    Args:
        container: A checked container.
        trust: Run the native decoder in this process instead of a limited child.

    Returns:
        Field, sampler and scene.

    Raises:
        ContainerError: The file does not hold exactly the tensors that its field needs.
    """
    trained = rebuild(container.header)._replace(qp=None)
    expected = {name: tuple(parameter.shape) for name, parameter in trained.field.named_parameters()}
    if trained.sampler.carried:
        expected[OCCUPANCY] = tuple(trained.sampler.occupied.shape)
    promised = {spec.name: spec.shape for section in container.sections for spec in section.tensors}
    if POSES in promised:  # earlier files have none
        expected[POSES] = (min(promised[POSES][0], _MOST_POSES - 1), 12)
    if promised != expected:
        wrong = sorted(name for name in promised.keys() | expected.keys() if promised.get(name) != expected.get(name))
        raise ContainerError(
            f"The file's tensors do not fit its {type(trained.field).__name__}: {', '.join(wrong[:8])}."
        )
    tensors = decode(container, trust)
    with torch.no_grad():
        for name, parameter in trained.field.named_parameters():
            parameter.copy_(torch.from_numpy(tensors[name]).reshape(parameter.shape))
    if trained.sampler.carried:
        trained.sampler.set_occupied(torch.from_numpy(tensors[OCCUPANCY]))
    if POSES in tensors:
        further = tuple(tuple(pose) for pose in tensors[POSES].astype(np.float64).tolist())
        trained = trained._replace(scene=trained.scene._replace(poses=trained.scene.poses[:1] + further))
    return trained


def write_nfc(container: Container, path: str | Path) -> int:
    """Write a container under its final name, whole or not at all; returns its bytes."""
    write_container(path, container)
    return Path(path).stat().st_size


def read_nfc(path: str | Path, trust: bool = False) -> TrainedField:
    """Read and decode a ``.nfc`` file.

    Raises:
        ContainerError: The file is missing, damaged or not allowed.
    """
    return decode_trained(read_container(path), trust)
