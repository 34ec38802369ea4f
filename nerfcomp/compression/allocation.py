"""Bit allocation: which tensor gets which quantization step.

Notation: ``w_i`` weights, ``h_i`` their sensitivities (see `sensitivity`), ``D`` a tensor's step. A uniform quantizer's
error has variance ``D^2 / 12``, so a tensor adds ``sum_i h_i D^2 / 12`` to the picture's mean squared error; at a given
rate the sum over tensors is smallest where all tensors pay the same distortion per weight, ``h D^2 = const``. The step
doubles every ``2 ** qp_density`` units of QP.
"""

import math
from collections.abc import Collection, Mapping

from torch import Tensor

_QP_PER_OCTAVE = 4


def allocate_qp(
    qp: int,
    weights: Mapping[str, Tensor],
    sensitivity: Mapping[str, Tensor],
    most_offset: int = 24,
    layers: Collection[str] = (),
) -> dict[str, int]:
    """Spread one quality setting over tensors so that each pays the same distortion per weight.

    Args:
        qp: QP of a tensor of typical sensitivity (the geometric mean over tensors, weighted by their active weights).
        weights: Named tensors.
        sensitivity: Sensitivities of the same names and shapes.
        most_offset: Largest distance of a tensor's QP from ``qp``.
        layers: Names of matrices of a deep network. Unless nothing feels them at all, their steps stay below the root
            mean square of their weights: errors as large as the weights silence a layer, and the network with it,
            which no derivative foretells.

    Returns:
        QP of every tensor.

    >>> import torch
    >>> flat = torch.ones(8)
    >>> allocate_qp(-20, {"a": flat, "b": flat}, {"a": flat, "b": 16 * flat})
    {'a': -16, 'b': -24}
    >>> allocate_qp(2, {"a": flat, "b": flat}, {"a": flat, "b": flat}, layers=["a"])
    {'a': 0, 'b': 2}
    """
    active = {name: sensitivity[name] > 0 for name in weights}
    counts = {name: int(mask.sum()) for name, mask in active.items()}
    logs = {
        name: math.log2(sensitivity[name][active[name]].mean().item()) if counts[name] else None for name in weights
    }
    known = [(counts[name], log) for name, log in logs.items() if log is not None]
    center = sum(n * log for n, log in known) / max(sum(n for n, _ in known), 1)
    offsets = {
        name: most_offset if log is None else _QP_PER_OCTAVE * 0.5 * (center - log) for name, log in logs.items()
    }
    found = {name: qp + round(max(-most_offset, min(most_offset, offset))) for name, offset in offsets.items()}
    for name in layers:
        size = weights[name].square().mean().sqrt().item()
        if counts[name] and size > 0:
            found[name] = min(found[name], math.floor(_QP_PER_OCTAVE * math.log2(size)))
    return found
