"""Losses on what was rendered, besides the colours."""

import torch
from torch import Tensor

from nerfcomp.kernels.composite import distortion_loss as ray_distortion
from nerfcomp.rendering.images import Rendered

_SMALLEST = 1e-10  # keeps the logarithm finite


def opacity_entropy_loss(opacity: Tensor) -> Tensor:
    """Mean of ``-o ln o``: pushes every ray to be empty or solid.

    Args:
        opacity: (N,) in [0, 1].

    Returns:
        Scalar, at least 0 up to rounding.

    >>> round(opacity_entropy_loss(torch.tensor([0.0, 0.5, 1.0])).item(), 4)
    0.1155
    """
    return opacity_entropy(opacity).mean() if len(opacity) else opacity.sum()


def opacity_entropy(opacity: Tensor) -> Tensor:
    """``-o ln o`` of every ray.

    Args:
        opacity: (N,) in [0, 1].

    Returns:
        (N,).
    """
    o = opacity + _SMALLEST
    return -(o * torch.log(o))


def distortion_loss(rendered: Rendered, n_rays: int) -> Tensor:
    """Mean distortion per ray (mip-NeRF 360, Barron et al. 2022, eq. 15): pulls the weights of a ray together.

    Args:
        rendered: Result of `nerfcomp.rendering.render`.
        n_rays: Number of rays to divide by.

    Returns:
        Scalar, in units of distance.

    Raises:
        ValueError: ``rendered`` has no samples.
    """
    if rendered.weights is None or rendered.samples is None:
        raise ValueError(
            "The distortion needs the weights of samples, which only render() returns, not render_image()."
        )
    samples = rendered.samples
    return ray_distortion(rendered.weights, samples.t, samples.dt, samples.offsets).sum() / max(n_rays, 1)


def ssim_loss(pictures: Tensor, truth: Tensor) -> Tensor:
    """Mean of ``(1 - SSIM) / 2`` with the 11x11 Gaussian window of Wang et al. (2004).

    Args:
        pictures: (B, 3, H, W) in [0, 1].
        truth: The same shape.

    Returns:
        Scalar in [0, 1].

    >>> black, white = torch.zeros(1, 3, 16, 16), torch.ones(1, 3, 16, 16)
    >>> round(ssim_loss(white, white).item(), 3), round(ssim_loss(black, white).item(), 3)
    (0.0, 0.5)
    """
    from kornia.losses import ssim_loss as structural_loss  # slow to import, and few runs need it

    return structural_loss(pictures, truth, window_size=11)
