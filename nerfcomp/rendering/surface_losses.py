"""Losses on what a surface field says of its samples."""

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy

_MARGIN = 1e-3  # opacities stay so far from 0 and 1: the logarithm is steep there
_NEAR_UNIT = 0.1


def masked_mean(values: Tensor, counted: Tensor | None) -> Tensor:
    """Mean of the values (M,) that are ``counted``, (M,) bool or shares that add up to 1; of all where nothing is said.

    Where there are none, 0.

    >>> masked_mean(torch.tensor([1.0, 5.0, 3.0]), torch.tensor([True, False, True])).item()
    2.0
    """
    if counted is None:
        return values.mean() if len(values) else values.sum()
    values = torch.where(counted > 0, values, 0.0)  # what is not counted may be no number
    if counted.dtype == torch.bool:
        return values.sum() / counted.sum().clamp(min=1)
    return (values * counted).sum()


def eikonal_loss(gradients: Tensor, counted: Tensor | None = None) -> Tensor:
    """Mean squared deviation of lengths from 1 (Gropp et al., "Implicit Geometric Regularization", 2020).

    Args:
        gradients: (M, 3) of the signed distance.
        counted: See `masked_mean`.

    Returns:
        Scalar, 0 where there are none.

    >>> eikonal_loss(torch.tensor([[3.0, 0.0, 0.0], [0.0, 1.0, 0.0]])).item()
    2.0
    """
    lengths = torch.linalg.vector_norm(gradients, dim=1)
    return masked_mean(torch.square(lengths - 1), counted)


def mask_loss(opacity: Tensor, alpha: Tensor, share: Tensor | None = None) -> Tensor:
    """Mean binary cross entropy of opacities and the alpha of pixels.

    Args:
        opacity: (N,) in [0, 1].
        alpha: (N,) in [0, 1].
        share: (N,) what each ray counts, see `masked_mean`.

    Returns:
        Scalar.

    >>> round(mask_loss(torch.tensor([0.5, 1.0]), torch.tensor([0.0, 1.0])).item(), 3)
    0.347
    """
    errors = binary_cross_entropy(opacity.clamp(_MARGIN, 1 - _MARGIN), alpha, reduction="none")
    return masked_mean(errors, share)


def curvature_loss(laplacian: Tensor, counted: Tensor | None = None) -> Tensor:
    """Mean absolute sum of second derivatives (Li et al., "Neuralangelo", 2023, eq. 8).

    >>> curvature_loss(torch.tensor([-1.0, 3.0])).item()
    2.0
    """
    return masked_mean(laplacian.abs(), counted)


def unit_share(gradients: Tensor, counted: Tensor | None = None) -> Tensor:
    """Share of gradients (M, 3) whose length deviates from 1 by at most a tenth.

    >>> unit_share(torch.tensor([[1.05, 0.0, 0.0], [0.0, 2.0, 0.0]])).item()
    0.5
    """
    near = (torch.linalg.vector_norm(gradients, dim=1) - 1).abs() <= _NEAR_UNIT
    return masked_mean(near.float(), counted)
