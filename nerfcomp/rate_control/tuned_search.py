"""Finding the QP that meets a limit, for fields that are tuned after they are quantized.

Test views take no part: sizes need no view at all, losses are measured on views that were held back from tuning.
"""

import copy
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch

from nerfcomp.artifacts.artifact import Artifact
from nerfcomp.artifacts.coded_tensors import SideQP, coded_tensors, side_qps
from nerfcomp.artifacts.nfc import BitAllocation, encode_artifact, quantize_field
from nerfcomp.codec import Container, to_bytes
from nerfcomp.compression import LocalScaling, largest_passing, named_scales
from nerfcomp.errors import NerfcompError
from nerfcomp.rate_control.allocator import Allocator
from nerfcomp.rate_control.targets import COARSEST_QP, FINEST_QP, qp_for_bytes

A = TypeVar("A", bound=Artifact)
_TUNED_SPREAD = 0.05  # of scales around 1, as tuning leaves them


def quantized_copy(trained: A, allocation: BitAllocation) -> A:
    """Quantize a copy of a field; the field itself stays as it is."""
    return quantize_field(trained.replace(field=copy.deepcopy(trained.field)), allocation)


def tuned_size(trained: Artifact, allocator: Allocator, qp: int, tuned: bool = True) -> int:
    """Bytes of the file that a field will make, tuned or not.

    Args:
        trained: The field, not quantized.
        allocator: Bit allocations of the field.
        qp: Quality.
        tuned: Count scales as tuning leaves them.
    """
    subject = trained.replace(field=copy.deepcopy(trained.field))
    if tuned:
        LocalScaling().attach(subject.field)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for scale in named_scales(subject.field).values():
                scale.add_(_TUNED_SPREAD * torch.randn(scale.shape, generator=generator).to(scale))
    allocation = allocator.allocate(qp)
    complete = side_qps(coded_tensors(subject.field), allocator.side) | allocation.qp
    return len(to_bytes(encode_artifact(subject, allocation._replace(qp=complete))))


def tuned_qp_for_bytes(trained: Artifact, allocator: Allocator, limit: int, tuned: bool = True) -> int:
    """The finest QP whose file, with tuned scales or not, has at most ``limit`` bytes.

    Raises:
        NerfcompError: Even the coarsest is larger.
    """
    return qp_for_bytes(lambda qp: tuned_size(trained, allocator, qp, tuned), limit)


def qp_for_drop(drop: Callable[[int], float], limit: float) -> int:
    """The coarsest QP that loses at most ``limit`` dB.

    Args:
        drop: Loss in dB at a QP, after some tuning.
        limit: In dB.

    Raises:
        NerfcompError: Even the finest loses more.
    """
    try:
        return largest_passing(lambda qp: drop(qp) <= limit, FINEST_QP, COARSEST_QP)
    except ValueError as error:
        raise NerfcompError(
            f"Even QP {FINEST_QP}, the finest, loses more than {limit} dB. Relax max_psnr_drop."
        ) from error


def encode_within(trained: Artifact, limit: int | None, provenance: Mapping[str, Any]) -> Container:
    """Encode a quantized field.

    Args:
        trained: The field with its QPs.
        limit: Most bytes of the file; where scales and biases take more than was foreseen, they give way.
        provenance: Kept in the header.

    Raises:
        NerfcompError: The file stays larger than the limit.
    """
    side = side_qps(coded_tensors(trained.field), SideQP(1, 1))
    for coarser in (0, 2, 4, 8, 12):
        qps = {name: qp + coarser * side.get(name, 0) for name, qp in (trained.qp or {}).items()}
        container = encode_artifact(trained, BitAllocation(qps), provenance)
        size = len(to_bytes(container))
        if limit is None or size <= limit:
            return container
    raise NerfcompError(f"The tuned file has {size:,} bytes, more than {limit:,}. Give a coarser --qp instead.")
