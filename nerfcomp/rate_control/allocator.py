"""Deciding what each weight of a trained model costs, from what its outputs feel. No image of the scene is read."""

from torch import Tensor

from nerfcomp.artifacts.artifact import Artifact
from nerfcomp.artifacts.coded_tensors import SideQP, coded_tensors, side_qps, weights_of
from nerfcomp.artifacts.nfc import BitAllocation, uniform_allocation
from nerfcomp.compression import allocate_qp

RD_LAMBDA = 0.11  # where a bit buys what halving the step would: the slope of D^2 / 12 per bit is about D^2 / 9


def allocate_bits(
    trained: Artifact,
    qp: int,
    sensitivity: dict[str, Tensor],
    rd_lambda: float = RD_LAMBDA,
    side: SideQP = SideQP(),
) -> BitAllocation:
    """Spread one quality setting over the weights.

    Args:
        trained: The model.
        qp: QP of a tensor of typical sensitivity.
        sensitivity: Of every weight, from `Artifact.sensitivity`.
        rd_lambda: What a bit may cost, see `BitAllocation`.
        side: QPs of biases and scales.

    Returns:
        The allocation that `encode_artifact` writes.
    """
    tensors = coded_tensors(trained.field)
    weights = weights_of(tensors)
    known = {name: sensitivity[name] for name in weights}
    qps = allocate_qp(qp, weights, known, layers=trained.bounded_layers())
    return BitAllocation(qps | side_qps(tensors, side), rd_lambda, known)


class Allocator:
    """Bit allocations of one model at any QP; measures sensitivities once, when it is made.

    Args:
        trained: The model.
        uniform: Give every tensor the same QP.
        side: QPs of biases and scales.
    """

    def __init__(self, trained: Artifact, uniform: bool, side: SideQP = SideQP()) -> None:
        self.trained = trained
        self.side = side
        self.sensitivity: dict[str, Tensor] | None = None if uniform else trained.sensitivity()

    def allocate(self, qp: int) -> BitAllocation:
        """Allocate at a QP."""
        if self.sensitivity is None:
            return uniform_allocation(self.trained, qp, self.side)
        return allocate_bits(self.trained, qp, self.sensitivity, side=self.side)
