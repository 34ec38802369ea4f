"""Finding the QP that meets a limit, for fields that are tuned after they are quantized.

Test views take no part: sizes need no view at all, losses are measured on views that were held back from tuning.
"""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch

from nerfcomp.codec import Container, to_bytes
from nerfcomp.compression import LocalScaling, largest_passing, named_scales
from nerfcomp.errors import NerfcompError
from nerfcomp.pipeline.bitstream import BitPlan, encode_trained, quantize_field
from nerfcomp.pipeline.encoding import COARSEST_QP, FINEST_QP, Planner
from nerfcomp.pipeline.trained import TrainedField
from nerfcomp.pipeline.weights import SideQP, coded_tensors, side_qps

_TUNED_SPREAD = 0.05  # of scales around 1, as tuning leaves them


def quantized_copy(trained: TrainedField, plan: BitPlan) -> TrainedField:
    """Quantize a copy of a field; the field itself stays as it is."""
    return quantize_field(trained._replace(field=copy.deepcopy(trained.field)), plan)


def tuned_size(trained: TrainedField, planner: Planner, qp: int, tuned: bool = True) -> int:
    """Bytes of the file that a field will make, tuned or not.

    Args:
        trained: The field, not quantized.
        planner: Plans of the field.
        qp: Quality.
        tuned: Count scales as tuning leaves them.
    """
    subject = trained._replace(field=copy.deepcopy(trained.field))
    if tuned:
        LocalScaling().attach(subject.field)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for scale in named_scales(subject.field).values():
                scale.add_(_TUNED_SPREAD * torch.randn(scale.shape, generator=generator).to(scale))
    plan = planner.plan(qp)
    complete = side_qps(coded_tensors(subject.field), planner.side) | plan.qp
    return len(to_bytes(encode_trained(subject, plan._replace(qp=complete))))


def qp_for_bytes(trained: TrainedField, planner: Planner, limit: int, tuned: bool = True) -> int:
    """The finest QP whose file has at most ``limit`` bytes.

    Raises:
        NerfcompError: Even the coarsest is larger.
    """
    try:
        return -largest_passing(lambda q: tuned_size(trained, planner, -q, tuned) <= limit, -COARSEST_QP, -FINEST_QP)
    except ValueError as error:
        least = tuned_size(trained, planner, COARSEST_QP, tuned)
        raise NerfcompError(
            f"No file of {limit:,} bytes is possible: at QP {COARSEST_QP}, the coarsest, it has {least:,}. "
            "Raise target_bytes."
        ) from error


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


def encode_within(trained: TrainedField, limit: int | None, provenance: Mapping[str, Any]) -> Container:
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
        container = encode_trained(trained, BitPlan(qps), provenance)
        size = len(to_bytes(container))
        if limit is None or size <= limit:
            return container
    raise NerfcompError(f"The tuned file has {size:,} bytes, more than {limit:,}. Give a coarser --qp instead.")
