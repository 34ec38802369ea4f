"""Small networks in plain torch, layer by layer. Notation as in `nerfcomp.kernels.mlp`."""

from collections.abc import Sequence

import torch
from torch import Tensor


def mlp_torch(x: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """Evaluate a network layer by layer: the reference, differentiable.

    Args:
        x: (M, inputs).
        matrices: Weights (out, in) from the first layer to the last.

    Returns:
        (M, outputs).

    >>> mlp_torch(torch.tensor([[1.0, -2.0]]), [torch.eye(2), torch.tensor([[3.0, 5.0]])]).tolist()
    [[3.0]]
    """
    for matrix in matrices[:-1]:
        x = torch.relu(x @ matrix.t())
    return x @ matrices[-1].t()
