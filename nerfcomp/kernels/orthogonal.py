"""Orthogonalization: matrices whose singular values are all about 1, with the singular vectors of those given.

Notation: ``B`` matrices of ``m x n``; ``X`` is iterated, ``G = X X^T`` with the shorter side outside.
Source: Newton-Schulz iteration with the quintic ``a s + b s^3 + c s^5`` of Jordan et al., "Muon: an optimizer for
hidden layers in neural networks" (2024). It takes products of matrices only, where a singular value decomposition is
slow.
"""

import torch
from torch import Tensor, nn

_A, _B, _C = 3.4445, -4.7750, 2.0315  # steep at 0, and [0.7, 1.2] goes into itself
_TINY = 1e-12
_LEAST = 1e-10  # of the norm; what fades away in rows of dead neurons would end in subnormal numbers, which take ages


def orthogonalize(matrices: Tensor, rounds: int = 5) -> Tensor:
    """Move all singular values towards 1.

    Args:
        matrices: (B, m, n), of any scale.
        rounds: Iterations. After five, singular values above 1/500 of the Frobenius norm lie in [0.68, 1.21].

    Returns:
        (B, m, n). Zeros stay zeros.

    >>> turned = orthogonalize(torch.tensor([[[0.0, 0.3], [-40.0, 0.0]]]))[0]
    >>> [[round(value, 2) for value in row] for row in turned.tolist()]
    [[0.0, 0.8], [-0.7, 0.0]]
    """
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + _TINY)
    x = nn.functional.hardshrink(x, _LEAST)
    for _ in range(rounds):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=_B, alpha=_C), x, beta=_A)
    return x.mT if tall else x
