"""Quantization steps from what a bit may cost.

Notation: ``D`` a tensor's step, ``h`` the mean sensitivity of its weights that are not zero, ``per_bit`` what a bit may
cost in the mean squared error of outputs. At fine steps one bit per weight halves the step. Uniform quantization errs
by ``h D^2 / 12`` per weight, so that a bit buys ``h D^2 ln(2) / 6``; at the best step that is ``per_bit`` (Sullivan and
Wiegand, "Rate-distortion optimization for video compression", 1998). Dependent quantization errs three times as much at
the same step, and its quantizers have twice the step.
"""

import math
from collections.abc import Collection, Mapping

from torch import Tensor

from nerfcomp.codec.quantizers import MAX_QP, MIN_QP, step_size

_BOUGHT = {False: math.log(2) / 6, True: 0.25}  # by a bit, in units of h D^2; with dependent quantization measured
_LEAST_ALIVE = 64  # weights that say what a tensor feels


def rate_qps(
    per_bit: float,
    weights: Mapping[str, Tensor],
    sensitivity: Mapping[str, Tensor],
    steps: Mapping[str, float],
    dependent: bool = False,
    layers: Collection[str] = (),
) -> dict[str, int]:
    """Choose the QP of every tensor so that a bit buys the same everywhere.

    Args:
        per_bit: What one bit may cost, above 0.
        weights: Named tensors.
        sensitivity: Of the same names and shapes, see `nerfcomp.compression.sensitivity`.
        steps: Steps so far; of tensors that have one, only weights that it does not round to 0 count.
        dependent: With the trellis.
        layers: Matrices of a deep network, whose steps stay below the root mean square of their weights, see
            `nerfcomp.compression.allocate_qp`.

    Returns:
        QPs; the coarsest of tensors that no output feels.
    """
    found = {}
    for name, weight in weights.items():
        felt = sensitivity[name] > 0
        if name in steps:
            alive = felt & (weight.detach().abs() > 0.5 * steps[name])
            felt = alive if int(alive.sum()) >= min(_LEAST_ALIVE, weight.numel()) else felt
        mean = float(sensitivity[name][felt].double().mean()) if bool(felt.any()) else 0.0
        step = math.sqrt(per_bit / (_BOUGHT[dependent] * mean)) if mean > 0 else math.inf
        found[name] = qp_of(step)
        size = float(weight.detach().square().mean().sqrt())
        if name in layers and mean > 0 and size > 0:
            bound = qp_of(size)
            found[name] = min(found[name], bound if step_size(bound) <= size else bound - 1)
    return found


def qp_of(step: float) -> int:
    """The QP whose step is nearest; the finest and the coarsest for steps beyond them.

    >>> qp_of(0.25), qp_of(0.3125), qp_of(0.26), qp_of(float("inf"))
    (-8, -7, -8, 127)
    """
    if not 0 < step < math.inf:
        return MIN_QP if step <= 0 else MAX_QP
    octave = math.floor(math.log2(step))
    return max(MIN_QP, min(MAX_QP, 4 * octave + round(4 * (step / 2.0**octave - 1))))
