"""Integer linear layers in plain torch, on any device. Notation as in `nerfcomp.kernels.int8_linear`."""

import torch
from torch import Tensor


def quantize_torch(x: Tensor, scale: float, zero_point: int) -> Tensor:
    """Integers (..., ) uint8 of values."""
    return _rounded(x, scale, zero_point)


def int8_linear_torch(
    x: Tensor,
    weight: Tensor,
    shift: Tensor,
    factor: Tensor,
    addend: Tensor,
    relu: bool,
    target: tuple[float, int] | None,
) -> Tensor:
    """See `nerfcomp.kernels.int8_linear.int8_linear`; sums are exact because each stays below 2^53.

    Args:
        x: (M, K) uint8.
        weight: (N, K) int8.
        shift: (N,) int32, what is added to the sums of products.
        factor: (N,) float32.
        addend: (N,) or (M, N) float32.
        relu: Whether negative values become zero.
        target: Scale and zero point of the result; float32 when absent.
    """
    total = (x.double() @ weight.double().T).to(torch.int32) + shift
    y = total.float() * factor + addend
    y = y.relu() if relu else y
    return y if target is None else _rounded(y, *target)


def int8_linear_int_mm(
    x: Tensor,
    weight: Tensor,
    shift: Tensor,
    factor: Tensor,
    addend: Tensor,
    relu: bool,
    target: tuple[float, int] | None,
) -> Tensor:
    """The same through `torch._int_mm`, which graphics processors multiply in integers; arguments as above.

    That takes signed integers, so that 128 is taken off the activations and given back with the shift, and sizes in
    multiples of eight, so that zeros are put around both.
    """
    rows, width = len(x), len(weight)
    signed = (x ^ 128).view(torch.int8)
    signed = torch.nn.functional.pad(signed, (0, -x.shape[1] % 8, 0, max(32 - rows, 0) + -max(rows, 32) % 8))
    padded = torch.nn.functional.pad(weight, (0, -weight.shape[1] % 8, 0, -width % 8))
    total = torch._int_mm(signed, padded.T)[:rows, :width]
    y = (total + (shift + 128 * weight.sum(1, dtype=torch.int32))).float() * factor + addend
    y = y.relu() if relu else y
    return y if target is None else _rounded(y, *target)


def _rounded(x: Tensor, scale: float, zero_point: int) -> Tensor:
    inverse = torch.tensor(1.0 / scale, dtype=torch.float32, device=x.device)
    return ((x * inverse).clamp(-zero_point, 255 - zero_point).round() + zero_point).to(torch.uint8)
