"""Losses on what a surface field says of its samples."""

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy

_MARGIN = 1e-3  # opacities stay so far from 0 and 1: the logarithm is steep there
_NEAR_UNIT = 0.1


def eikonal_loss(gradients: Tensor) -> Tensor:
    """Mean squared deviation of lengths from 1 (Gropp et al., "Implicit Geometric Regularization", 2020).

    Args:
        gradients: (M, 3) of the signed distance.

    Returns:
        Scalar, 0 where there are none.

    >>> eikonal_loss(torch.tensor([[3.0, 0.0, 0.0], [0.0, 1.0, 0.0]])).item()
    2.0
    """
    lengths = torch.linalg.vector_norm(gradients, dim=1)
    return torch.square(lengths - 1).mean() if len(lengths) else lengths.sum()


def mask_loss(opacity: Tensor, alpha: Tensor) -> Tensor:
    """Mean binary cross entropy of opacities and the alpha of pixels.

    Args:
        opacity: (N,) in [0, 1].
        alpha: (N,) in [0, 1].

    Returns:
        Scalar.

    >>> round(mask_loss(torch.tensor([0.5, 1.0]), torch.tensor([0.0, 1.0])).item(), 3)
    0.347
    """
    return binary_cross_entropy(opacity.clamp(_MARGIN, 1 - _MARGIN), alpha) if len(alpha) else opacity.sum()


def curvature_loss(laplacian: Tensor) -> Tensor:
    """Mean absolute sum of second derivatives (Li et al., "Neuralangelo", 2023, eq. 8).

    >>> curvature_loss(torch.tensor([-1.0, 3.0])).item()
    2.0
    """
    return laplacian.abs().mean() if len(laplacian) else laplacian.sum()


def unit_share(gradients: Tensor) -> Tensor:
    """Share of gradients (M, 3) whose length deviates from 1 by at most a tenth.

    >>> unit_share(torch.tensor([[1.05, 0.0, 0.0], [0.0, 2.0, 0.0]])).item()
    0.5
    """
    near = (torch.linalg.vector_norm(gradients, dim=1) - 1).abs() <= _NEAR_UNIT
    return torch.nan_to_num(near.float().mean())
