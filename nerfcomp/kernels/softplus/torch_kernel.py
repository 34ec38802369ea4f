"""Softplus in plain torch: the reference."""

import torch
from torch import Tensor


def softplus_torch(x: Tensor, beta: float) -> Tensor:
    """See `nerfcomp.kernels.softplus.softplus`.

    >>> round(softplus_torch(torch.zeros(1), 1.0).item(), 6)
    0.693147
    """
    return torch.nn.functional.softplus(x, beta)
