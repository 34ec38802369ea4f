"""Encoding a trained model to a quality, a size or a loss."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from nerfcomp.artifacts.artifact import Artifact
from nerfcomp.artifacts.coded_tensors import SideQP, coded_tensors
from nerfcomp.artifacts.nfc import BitAllocation, decode_artifact, encode_artifact
from nerfcomp.codec import Container, to_bytes
from nerfcomp.compression import largest_passing
from nerfcomp.errors import NerfcompError
from nerfcomp.rate_control.allocator import Allocator

FINEST_QP, COARSEST_QP = -56, 0
Quality = Callable[[Artifact], float]


class RateTarget(NamedTuple):
    """What an encoding aims at: a QP, or the best QP under one limit."""

    qp: int = -24
    uniform: bool = False  # the same QP for every tensor
    target_bytes: int | None = None
    max_psnr_drop: float | None = None  # dB
    side: SideQP = SideQP()  # biases and scales
    drop_unseen: bool = False  # what no known view shows becomes empty


def encode_for(
    trained: Artifact,
    target: RateTarget,
    quality: Quality | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> Container:
    """Encode a model to a target.

    Args:
        trained: The model.
        target: QP or limit.
        quality: PSNR in dB of a model, on data that is not test data; needed for a limit in dB.
        provenance: Kept in the header.

    Returns:
        The container.

    Raises:
        NerfcompError: Both limits at once, a limit in dB without a quality, a limit for a model whose weights are
            quantized already, or one in bytes that no QP meets.
        ValueError: No QP meets a limit in dB, or ``drop_unseen`` where files do not say what is empty.
    """
    if target.target_bytes is not None and target.max_psnr_drop is not None:
        raise NerfcompError("Give target_bytes or max_psnr_drop, not both.")
    whole = trained.for_coding()
    trained = whole.without_unseen() if target.drop_unseen else whole
    if trained.qp is not None or not coded_tensors(trained.field):
        if target.target_bytes is not None or target.max_psnr_drop is not None:
            raise NerfcompError("The weights of this field are quantized already; set the limit where that is done.")
        return encode_artifact(trained, BitAllocation(trained.qp or {}, dependent=not trained.rounded), provenance)
    allocator = Allocator(trained, target.uniform, target.side)

    def container(qp: int) -> Container:
        more = {**(provenance or {}), "qp": qp, "uniform": target.uniform}
        return encode_artifact(trained, allocator.allocate(qp), more)

    if target.target_bytes is not None:
        return container(qp_for_bytes(lambda qp: len(to_bytes(container(qp))), target.target_bytes))
    if target.max_psnr_drop is not None:
        if quality is None:
            raise NerfcompError("max_psnr_drop is measured on training views; name the scene with --reader.")
        measure, floor = quality, quality(whole) - target.max_psnr_drop

        def passes(qp: int) -> bool:
            return measure(decode_artifact(container(qp), trust=True)) >= floor

        return container(largest_passing(passes, FINEST_QP, COARSEST_QP))
    return container(target.qp)


def qp_for_bytes(size: Callable[[int], int], limit: int) -> int:
    """The finest QP whose file is small enough.

    Args:
        size: Bytes of the file at a QP.
        limit: Most bytes.

    Raises:
        NerfcompError: Even the coarsest QP makes a larger file.
    """
    try:
        return -largest_passing(lambda q: size(-q) <= limit, -COARSEST_QP, -FINEST_QP)
    except ValueError as error:
        raise NerfcompError(
            f"No file of {limit:,} bytes is possible: at QP {COARSEST_QP}, the coarsest, it has {size(COARSEST_QP):,}. "
            "Raise target_bytes."
        ) from error
