"""What the levels of a tensor cost, as seen by training: a coder's bits, with gradients.

Notation: ``w`` a weight, ``step`` the decoder's quantization step, ``level = round(w / step)``. The bits of a level are
those of an ideal adaptive coder, ``-log2 p(|level|)`` with p from the tensor's own histogram, and one for the sign.
Between two levels they are interpolated, so that the *slope* at w is their difference, in bits per step: what pulls on
every weight that is not zero, and by more, the rarer its level is. Adding ``lambda * slope`` to a gradient makes
training minimize ``loss + lambda * bits`` (entropy-constrained quantization: Chou, Lookabaugh and Gray, 1989; with
rounding in the forward pass and its gradient taken as 1: Bengio et al., 2013).
"""

from typing import NamedTuple

import torch
from torch import Tensor

LARGEST = 32  # levels beyond it share one count
_DEAD_SLOPE = (2.5, 7.0)  # bits from 0 to 1: also where 0 is not the most frequent level, and where hardly another is
_LEAST_SLOPE = 0.7  # bits from one level to the next


class LevelRates(NamedTuple):
    """Estimated rate of one tensor.

    Attributes:
        slopes: (F, LARGEST + 1) bits by which level k + 1 costs more than k, for each column of the tensor.
        bits: Of the whole tensor.
    """

    slopes: Tensor
    bits: float


def round_to_step(weight: Tensor, step: float, dead_zone: float = 0.5) -> Tensor:
    """Values that a decoder returns for weights that are rounded to multiples of the step.

    Args:
        weight: Any shape.
        step: Quantization step.
        dead_zone: Values nearer to 0 than this many steps become 0; at least 0.5.

    >>> round_to_step(torch.tensor([0.6, -0.6, 1.6]), 1.0, dead_zone=0.7)
    tensor([0., -0., 2.])
    """
    rounded = torch.round(weight / step)
    if dead_zone > 0.5:
        rounded = rounded * (weight.abs() >= dead_zone * step)
    return rounded * step


def measure_rates(weight: Tensor, step: float) -> LevelRates:
    """Estimate what the rounded weight costs.

    Args:
        weight: (N, F) or any other shape; each index of a last axis of at most 64 has its own statistics.
        step: Quantization step.

    >>> round(measure_rates(torch.tensor([0.0, 1.0] * 512), 1.0).bits)  # 1 bit each, and signs
    1537
    """
    columns = weight.shape[-1] if weight.dim() > 1 and weight.shape[-1] <= 64 else 1
    levels = torch.round(weight.detach().reshape(-1, columns) / step).abs().clamp_(max=LARGEST).long()
    places = levels + torch.arange(columns, device=levels.device) * (LARGEST + 1)
    counts = torch.bincount(places.reshape(-1), minlength=columns * (LARGEST + 1)).view(columns, -1).double().cpu()
    tail = 0.3 * 0.6 ** torch.arange(LARGEST + 1, dtype=torch.float64) + 1e-3
    bits = -torch.log2((counts + tail) / (counts.sum(dim=1, keepdim=True) + 1))
    bits[:, 1:] += 1
    slopes = torch.empty(columns, LARGEST + 1, dtype=torch.float64)
    slopes[:, 0] = (bits[:, 1] - bits[:, 0]).clamp(*_DEAD_SLOPE)
    mean = (counts * torch.arange(LARGEST + 1)).sum(dim=1) / counts[:, 1:].sum(dim=1).clamp(min=1)
    further = -torch.log2((1 - 1 / mean.clamp(min=1.02)).clamp(min=0.02))  # of a geometric tail
    slopes[:, 1:] = further.clamp(min=_LEAST_SLOPE).unsqueeze(1)
    return LevelRates(slopes.to(weight.device, torch.float32), float((counts * bits).sum()))


def rate_gradient(weight: Tensor, step: float, rates: LevelRates) -> Tensor:
    """Gradient of the bits of a tensor with respect to its weights, (shape of ``weight``); 0 where a weight is 0.

    >>> rates = LevelRates(torch.arange(LARGEST + 1.0).view(1, -1) + 1, 0.0)
    >>> rate_gradient(torch.tensor([0.0, 0.5, -2.5]), 0.5, rates)
    tensor([ 0.,  4., -12.])
    """
    columns = len(rates.slopes)
    flat = weight.detach().reshape(-1, columns)
    level = (flat.abs() / step).long().clamp_(max=LARGEST)
    level += torch.arange(columns, device=flat.device) * (LARGEST + 1)
    slope = rates.slopes.reshape(-1)[level] / step
    return (slope * flat.sign()).view(weight.shape)
