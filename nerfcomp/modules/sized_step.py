"""A training step of a radiance field on a GPU, in buffers of fixed size: the host never waits for the device.

Means over the rays that a step uses are sums over all rays of the batch, those not used times 0; how many are used is
known to the device alone. Notation as in `nerfcomp.rendering.sized`.
"""

import torch
from torch import Tensor
from torch.nn import functional

from nerfcomp.geometry.rays import RayBatch
from nerfcomp.kernels.composite import distortion_loss
from nerfcomp.rendering import Rendered
from nerfcomp.rendering.losses import opacity_entropy
from nerfcomp.rendering.sized import Sized

MARCHED = 4  # times the samples that a step trains on are marched and looked at, at most
_RGB_LOSSES = {"mse": functional.mse_loss, "huber": functional.smooth_l1_loss, "l1": functional.l1_loss}


def sized_losses(
    rendered: Rendered, batch: RayBatch, sized: Sized, rgb_loss: str, weights: tuple[float, float]
) -> dict[str, Tensor]:
    """Weighted losses of the rays of a batch that are used, by name: the same as those of the step on a CPU.

    Args:
        rendered: All rays of the batch.
        batch: N rays and their colours.
        sized: Which of them are used.
        rgb_loss: ``mse``, ``huber`` or ``l1``.
        weights: Of the entropy of the opacities and of the distortion.
    """
    share = sized.shares(len(batch.rgb))
    losses = {"rgb": rgb_error(rendered.rgb, batch.rgb, share, rgb_loss)}
    if weights[0] > 0:
        losses["opacity"] = weights[0] * (opacity_entropy(rendered.opacity) * share).sum()
    if weights[1] > 0:
        losses["distortion"] = weights[1] * _distortion(rendered, sized)
    return losses


def rgb_error(rgb: Tensor, true: Tensor, share: Tensor, rgb_loss: str) -> Tensor:
    """Error of colours (N, 3), each ray counting its share (N,).

    >>> rgb_error(torch.zeros(2, 3), torch.ones(2, 3), torch.tensor([1.0, 0.0]), "mse").item()
    1.0
    """
    return (_RGB_LOSSES[rgb_loss](rgb, true, reduction="none").mean(1) * share).sum()


def sized_figures(rendered: Rendered, batch: RayBatch, sized: Sized) -> dict[str, Tensor]:
    """Further figures of the rays that are used, by name."""
    squares = (rendered.rgb.detach() - batch.rgb).square().mean(1)
    rays = sized.n_rays.float()
    return {
        "psnr": -10 * torch.log10((squares * sized.shares(len(batch.rgb))).sum()),
        "samples_per_ray": sized.samples.offsets[-1:].squeeze(0) / rays.clamp(min=1),
        "rays": rays,
    }


def _distortion(rendered: Rendered, sized: Sized) -> Tensor:
    """Mean distortion of the rays used; the others have no samples."""
    assert rendered.weights is not None, "of render()"
    samples = sized.samples
    total = distortion_loss(rendered.weights, samples.t, samples.dt, samples.offsets).sum()
    return total / sized.n_rays.clamp(min=1)
