"""What levels cost in the coder that will code them, and what dropping one or making it smaller saves.

The model is that of the entropy coder itself (`nerfcomp.codec.trellis`): a flag for zero whose context is the value
before, then sign and magnitude. It is measured anew now and then while a field trains, and no file holds it.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nerfcomp.codec.trellis import Counts, count_flags, rates_from, total_bits

_FIRST = (2.0, 12.0)  # bits; also where zero is not the most frequent level, and where hardly another one is left
_LEAST_FURTHER = 0.7
_FEW = 8  # entries that say nothing of others


class Prices(NamedTuple):
    """What one tensor costs.

    Attributes:
        bits: Of the whole tensor.
        first: Bits that an entry saves when its level becomes 0, its effect on the entry behind it included.
        further: Bits from one level to the next one.
        zeros: Share of levels that are 0.
    """

    bits: float
    first: float
    further: float
    zeros: float


def measure_prices(weight: Tensor, step: float) -> Prices:
    """Measure the prices of the levels of a weight.

    Args:
        weight: Any shape, in the order in which it is coded.
        step: Distance of the values of one quantizer: the quantization step, twice of it for dependent quantization.

    >>> levels = torch.tensor([1.0, 0.0, 0.0, 0.0] * 1000)
    >>> prices = measure_prices(levels, 1.0)
    >>> 2750 < prices.bits < 2850, prices.zeros  # 3000 times the entropy of 1/3 is 2755
    (True, 0.75)
    """
    levels = torch.floor(weight.detach().reshape(-1) * (1.0 / step) + 0.5).to("cpu", torch.int32)
    counts = count_flags(levels.numpy(), dependent=False)
    sizes = levels.abs()
    alive = int(sizes.count_nonzero())
    mean = float(sizes.sum(dtype=torch.float64)) / max(alive, 1)
    further = -math.log2(max(1.0 - 1.0 / max(mean, 1.02), 0.02))  # of a geometric tail
    first = min(max(_saved_by_zero(counts), _FIRST[0]), _FIRST[1]) if alive >= _FEW else _FIRST[1]
    zeros = 1.0 - alive / max(len(levels), 1)
    return Prices(total_bits(counts), first, max(further, _LEAST_FURTHER), zeros)


def _saved_by_zero(counts: Counts) -> float:
    """Mean over the entries that are not zero."""
    rates = rates_from(counts)
    flags, bits = counts.zero[0] + 0.4, rates.zero[0]  # by the value before and whether this one is not zero
    own = float(np.average(bits[:, 1] - bits[:, 0], weights=flags[:, 1]))
    behind = flags[1:].sum(axis=0) / flags[1:].sum()  # what follows a value that is not zero
    price = np.average(bits[1:], axis=0, weights=flags[1:].sum(axis=1))
    signs = float(np.average(rates.sign, weights=counts.sign + 0.4))
    return own + float((behind * (price - bits[0])).sum()) + signs + float(rates.magnitude[:, 1].mean())
