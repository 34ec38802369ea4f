"""Alpha compositing of packed samples, and the distortion loss on its weights.

Notation of this file, for the samples i of one ray from near to far:

- ``T_i = T_0 * prod_{j < i} (1 - alpha_j)`` is the transmittance that arrives at sample i, ``w_i = T_i * alpha_i`` its
  weight.
- A ray stops where ``T_i <= early_stop``: the sample that takes it below is still counted, those behind have weight 0.
- Sums over samples: colour ``sum w c``, depth ``sum w t`` (not divided by the opacity), opacity ``sum w``.

Source: Max, "Optical Models for Direct Volume Rendering" (1995), in the form of Mildenhall et al., "NeRF" (2020), eq.
3.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nerfcomp.kernels.backends import Backend, choose_backend
from nerfcomp.kernels.composite.numba_kernel import (
    composite_backward,
    composite_forward,
    distortion_backward,
    distortion_forward,
)
from nerfcomp.kernels.composite.torch_kernel import composite_torch, distortion_torch
from nerfcomp.kernels.numba_setup import as_array, worker_count

_DTYPES = (torch.float32, torch.float64)


class Composite(NamedTuple):
    """Pixels of N rays and the weights of their M samples.

    Attributes:
        rgb: (N, 3) colour before any background.
        depth: (N,) expected distance, ``sum w t``; divide by the opacity for the mean distance of what is there.
        opacity: (N,) in [0, 1].
        weights: (M,) in [0, 1].
    """

    rgb: Tensor
    depth: Tensor
    opacity: Tensor
    weights: Tensor


class _NumbaComposite(torch.autograd.Function):
    """`composite_torch` with hand-written gradients for ``alpha`` and ``rgb``."""

    @staticmethod
    def forward(
        ctx: Any, alpha: Tensor, rgb: Tensor, t: Tensor, offsets: Tensor, start: Tensor, early_stop: float
    ) -> tuple[Tensor, ...]:
        rays = len(offsets) - 1
        image, depth, opacity = alpha.new_empty(rays, 3), alpha.new_empty(rays), alpha.new_empty(rays)
        weights, transmittance = torch.empty_like(alpha), torch.empty_like(alpha)
        inputs = [as_array(tensor) for tensor in (alpha, rgb, t, offsets, start)]
        outputs = [tensor.numpy() for tensor in (image, depth, opacity, weights, transmittance)]
        composite_forward(*inputs, early_stop, worker_count(), *outputs)
        ctx.save_for_backward(alpha, rgb, t, offsets, weights, transmittance)
        return image, depth, opacity, weights

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        alpha, rgb = ctx.saved_tensors[:2]
        grad_alpha = torch.empty_like(alpha, memory_format=torch.contiguous_format)
        grad_rgb = torch.empty_like(rgb, memory_format=torch.contiguous_format)
        inputs = [as_array(tensor) for tensor in (*ctx.saved_tensors, *gradients)]
        composite_backward(*inputs, worker_count(), grad_alpha.numpy(), grad_rgb.numpy())
        return grad_alpha, grad_rgb, None, None, None, None


class _NumbaDistortion(torch.autograd.Function):
    """`distortion_torch` with a hand-written gradient for ``weights``."""

    @staticmethod
    def forward(ctx: Any, weights: Tensor, t: Tensor, dt: Tensor, offsets: Tensor) -> Tensor:
        loss = weights.new_empty(len(offsets) - 1)
        inputs = [as_array(tensor) for tensor in (weights, t, dt, offsets)]
        distortion_forward(*inputs, worker_count(), loss.numpy())
        ctx.save_for_backward(weights, t, dt, offsets)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        grad_weights = torch.empty(len(ctx.saved_tensors[0]), dtype=ctx.saved_tensors[0].dtype)
        inputs = [as_array(tensor) for tensor in (*ctx.saved_tensors, *gradients)]
        distortion_backward(*inputs, worker_count(), grad_weights.numpy())
        return grad_weights, None, None, None


def composite(
    alpha: Tensor,
    rgb: Tensor,
    t: Tensor,
    offsets: Tensor,
    early_stop: float = 1e-4,
    transmittance: Tensor | None = None,
    backend: Backend = "auto",
) -> Composite:
    """Blend the samples of each ray from near to far. Differentiable in ``alpha`` and ``rgb``.

    Args:
        alpha: (M,) opacity of each sample's interval, in [0, 1]; float64, or computed in float32.
        rgb: (M, 3) colour of each sample.
        t: (M,) distance of each sample.
        offsets: (N + 1,) int64; the samples of ray r are ``offsets[r]:offsets[r + 1]``; what is behind the last ray
            has weight 0 and no gradient.
        early_stop: Transmittance at which a ray ends, in [0, 1).
        transmittance: (N,) light that arrives at each ray's first sample; none is 1.
        backend: "torch", "numba" (on the CPU), "triton" (on a GPU), or "auto", see `choose_backend`.

    Returns:
        Pixels and weights.

    >>> out = composite(torch.tensor([0.5, 1.0]), torch.eye(3)[:2], torch.tensor([1.0, 3.0]), torch.tensor([0, 2, 2]))
    >>> out.rgb.tolist(), out.depth.tolist(), out.opacity.tolist(), out.weights.tolist()
    ([[0.5, 0.5, 0.0], [0.0, 0.0, 0.0]], [2.0, 0.0], [1.0, 0.0], [0.5, 0.5])
    """
    dtype = torch.float64 if alpha.dtype == torch.float64 else torch.float32
    start = alpha.new_ones(len(offsets) - 1, dtype=dtype) if transmittance is None else transmittance.detach().to(dtype)
    inputs = (alpha.to(dtype), rgb.to(dtype), t.detach().to(dtype), offsets, start, early_stop)
    chosen = choose_backend("compositing", backend, inputs[:3], dtypes=_DTYPES)
    if chosen == "triton":
        from nerfcomp.kernels.composite.triton_kernel import composite_triton

        return Composite(*composite_triton(*inputs))
    if spare := len(alpha) - int(offsets[-1]):
        found = composite(alpha[:-spare], rgb[:-spare], t[:-spare], offsets, early_stop, transmittance, backend)
        return found._replace(weights=torch.nn.functional.pad(found.weights, (0, spare)))
    if chosen == "torch":
        return Composite(*composite_torch(*inputs))
    return Composite(*_NumbaComposite.apply(*inputs))  # type: ignore[no-untyped-call]


def distortion_loss(weights: Tensor, t: Tensor, dt: Tensor, offsets: Tensor, backend: Backend = "auto") -> Tensor:
    """Distortion of each ray: how far its weights spread. Differentiable in ``weights``.

    ``sum_ij w_i w_j |t_i - t_j| + sum_i w_i^2 dt_i / 3`` in O(M), by prefix sums: Barron et al., "Mip-NeRF 360" (2022),
    eq. 15, in the arrangement of Sun et al., "Improved Direct Voxel Grid Optimization" (2022).

    Args:
        weights: (M,) weights of the samples.
        t: (M,) distances, ascending within a ray.
        dt: (M,) interval lengths.
        offsets: (N + 1,) int64; the samples of ray r are ``offsets[r]:offsets[r + 1]``.
        backend: As in `composite`.

    Returns:
        (N,), in units of ``t``.

    >>> weights, t, dt = torch.tensor([0.5, 0.5]), torch.tensor([1.0, 2.0]), torch.tensor([0.75, 0.75])
    >>> distortion_loss(weights, t, dt, torch.tensor([0, 2])).tolist()
    [0.625]
    """
    dtype = torch.float64 if weights.dtype == torch.float64 else torch.float32
    inputs = (weights.to(dtype), t.detach().to(dtype), dt.detach().to(dtype), offsets)
    chosen = choose_backend("distortion", backend, inputs[:3], dtypes=_DTYPES)
    if chosen == "triton":
        from nerfcomp.kernels.composite.triton_kernel import distortion_triton

        return distortion_triton(*inputs)
    if spare := len(weights) - int(offsets[-1]):
        return distortion_loss(weights[:-spare], t[:-spare], dt[:-spare], offsets, backend)
    if chosen == "torch":
        return distortion_torch(*inputs)
    loss: Tensor = _NumbaDistortion.apply(*inputs)  # type: ignore[no-untyped-call]
    return loss
