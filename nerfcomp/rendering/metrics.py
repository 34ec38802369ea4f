"""Image quality as the field quotes it: PSNR and SSIM per image, then the mean over images."""

from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure


class ImageQuality(NamedTuple):
    """Quality of one image against the truth."""

    psnr: float  # dB
    ssim: float  # in [-1, 1]


def psnr(image: Tensor, truth: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of values in [0, 1], in dB.

    Args:
        image: Any shape; clamped to [0, 1].
        truth: The same shape, in [0, 1].

    Returns:
        Scalar tensor; 120 dB at most (equal images would be infinite).

    >>> round(psnr(torch.tensor([0.5]), torch.tensor([0.6])).item(), 3)
    20.0
    """
    error = torch.mean((image.clamp(0.0, 1.0) - truth) ** 2)
    return -10.0 * torch.log10(error.clamp_min(1e-12))


def image_quality(image: Tensor, truth: Tensor) -> ImageQuality:
    """PSNR and SSIM (Wang et al. 2004: 11x11 Gaussian window, sigma 1.5, range 1) of one image.

    Args:
        image: (H, W, 3); clamped to [0, 1].
        truth: (H, W, 3) in [0, 1].

    Returns:
        The two figures as floats.

    >>> image_quality(torch.ones(16, 16, 3), torch.ones(16, 16, 3))
    ImageQuality(psnr=120.0, ssim=1.0)
    """
    image = image.clamp(0.0, 1.0)
    stacked = torch.stack([image, truth]).permute(0, 3, 1, 2)
    ssim = structural_similarity_index_measure(stacked[:1], stacked[1:], data_range=1.0)
    assert isinstance(ssim, Tensor)
    return ImageQuality(psnr(image, truth).item(), ssim.item())
