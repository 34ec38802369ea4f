"""What training for few bits does to every weight in every step: round it as a decoder will, and pull it towards zero.

Notation: ``step`` is the quantization step, ``level = floor(w / step + 1/2)``. ``exp_avg_sq`` is Adam's running average
of squared gradients (see `nerfcomp.kernels.adam`), whose root is the metric in which Adam moves.

`shrink` is the proximal step of a cost per level, in Adam's metric (soft thresholding: Daubechies, Defrise and De Mol,
2004; in the metric of a diagonal preconditioner: Duchi, Hazan and Singer, "AdaGrad", 2011, section 5). It acts on all
weights with the rate of time, however rarely a batch touches them, so that a rarely read entry pays for its bits what
every other one pays.
"""

from typing import NamedTuple

from torch import Tensor

from nerfcomp.kernels.backends import Backend, choose_backend
from nerfcomp.kernels.rate.numba_kernel import round_levels_numba, shrink_numba
from nerfcomp.kernels.rate.torch_kernel import round_levels_torch, shrink_torch

_MOST = 2.0**24  # levels that float32 tells apart


class Pull(NamedTuple):
    """How far weights are pulled.

    Attributes:
        first: Distance of a weight below one step, times ``sqrt(exp_avg_sq)``.
        further: Of one beyond it.
        root_factor: Factor of the root of ``exp_avg_sq``, see `nerfcomp.kernels.adam.AdamStep`.
        eps: Added to the root.
    """

    first: float
    further: float
    root_factor: float
    eps: float


def round_levels(
    weight: Tensor,
    step: float,
    out: Tensor,
    dead_zone: float = 0.5,
    seed: int | None = None,
    backend: Backend = "auto",
) -> None:
    """Write the values that a decoder returns for weights, or such that are off by as much.

    Args:
        weight: Any shape.
        step: Quantization step, above 0.
        out: Same shape; gets the values.
        dead_zone: Values nearer to 0 than this many steps become 0; at least 0.5.
        seed: With one, values outside of the dead zone are not rounded but get noise, uniform over one step.
        backend: "torch"; "numba" (float32 on the CPU, contiguous); or "auto", see `choose_backend`.

    Raises:
        ValueError: A backend that cannot take these tensors, or no step.

    >>> import torch
    >>> out = torch.empty(3)
    >>> round_levels(torch.tensor([0.6, -0.7, 1.6]), 1.0, out, dead_zone=0.65)
    >>> out.tolist()
    [0.0, -1.0, 2.0]
    """
    if not step > 0:
        raise ValueError(f"A quantization step of {step} is impossible; it must be above 0.")
    packed = weight.is_contiguous() and out.is_contiguous()
    chosen = choose_backend("rounding to levels", backend, (weight, out), ("numba",) if packed else ())
    write = round_levels_numba if chosen == "numba" else round_levels_torch
    write(weight, step, out, dead_zone, seed)


def shrink(weight: Tensor, exp_avg_sq: Tensor, step: float, pull: Pull, backend: Backend = "auto") -> None:
    """Pull weights towards zero in place, up to it and not beyond; those without a second moment stay.

    Args:
        weight: Any shape.
        exp_avg_sq: Second moments, same shape; 0 where no gradient ever came.
        step: Quantization step, above 0.
        pull: How far.
        backend: See `round_levels`.

    Raises:
        ValueError: A backend that cannot take these tensors.

    >>> import torch
    >>> weight = torch.tensor([0.5, 3.0, -3.0, 3.0])
    >>> shrink(weight, torch.tensor([1.0, 1.0, 4.0, 0.0]), 1.0, Pull(1.0, 0.5, 1.0, 0.0))
    >>> weight.tolist()
    [0.0, 2.5, -2.75, 3.0]
    """
    packed = weight.is_contiguous() and exp_avg_sq.is_contiguous()
    chosen = choose_backend("pull of bits", backend, (weight, exp_avg_sq), ("numba",) if packed else ())
    (shrink_numba if chosen == "numba" else shrink_torch)(weight, exp_avg_sq, step, pull)
