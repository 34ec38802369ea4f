"""A training step of a radiance field on a GPU, in buffers of fixed size: the host never waits for the device.

Means over the rays that a step uses are sums over all rays of the batch, those not used times 0; how many are used is
known to the device alone. Notation as in `nerfcomp.rendering.sized`.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from nerfcomp.geometry.rays import RayBatch
from nerfcomp.kernels.composite import distortion_loss
from nerfcomp.rendering import Rendered, Samples, render
from nerfcomp.rendering.images import ShadeFunction
from nerfcomp.rendering.losses import opacity_entropy
from nerfcomp.rendering.sized import Sized, sized_samples

MARCHED = 4  # times the samples that a step trains on are marched and looked at, at most
_RGB_LOSSES = {"mse": functional.mse_loss, "huber": functional.smooth_l1_loss, "l1": functional.l1_loss}


class SizedLosses(NamedTuple):
    """What a step in buffers of fixed size says.

    Attributes:
        losses: Weighted losses by name.
        figures: Further figures by name.
        n_rays: Scalar, rays used.
    """

    losses: dict[str, Tensor]
    figures: dict[str, Tensor]
    n_rays: Tensor


def sized_step(
    shade: ShadeFunction,
    alpha: Callable[..., Tensor],
    batch: RayBatch,
    marched: Samples,
    max_samples: int,
    rgb_loss: str,
    weights: tuple[float, float],
) -> SizedLosses:
    """Losses of the leading rays of a batch that fit in ``max_samples``, the same as those of the step on a CPU.

    Args:
        shade: Opacity and colour of samples.
        alpha: Opacity of samples.
        batch: N rays and their colours.
        marched: Their samples in a buffer.
        max_samples: Samples to train on, at most.
        rgb_loss: ``mse``, ``huber`` or ``l1``.
        weights: Of the entropy of the opacities and of the distortion.
    """
    sized = sized_samples(marched, batch.rays.viewdirs, alpha, max_samples)
    rendered = render(shade, batch.rays, sized.samples, batch.background)
    share = sized.shares(len(batch.rgb))
    error = _RGB_LOSSES[rgb_loss](rendered.rgb, batch.rgb, reduction="none").mean(1)
    losses = {"rgb": (error * share).sum()}
    if weights[0] > 0:
        losses["opacity"] = weights[0] * (opacity_entropy(rendered.opacity) * share).sum()
    if weights[1] > 0:
        losses["distortion"] = weights[1] * _distortion(rendered, sized)
    squares = (rendered.rgb.detach() - batch.rgb).square().mean(1)
    rays = sized.n_rays.float()
    figures = {
        "psnr": -10 * torch.log10((squares * share).sum()),
        "samples_per_ray": sized.samples.offsets[-1:].squeeze(0) / rays.clamp(min=1),
        "rays": rays,
    }
    return SizedLosses(losses, figures, rays)


def _distortion(rendered: Rendered, sized: Sized) -> Tensor:
    """Mean distortion of the rays used; the others have no samples."""
    assert rendered.weights is not None, "of render()"
    samples = sized.samples
    total = distortion_loss(rendered.weights, samples.t, samples.dt, samples.offsets).sum()
    return total / sized.n_rays.clamp(min=1)
