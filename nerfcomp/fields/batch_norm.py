"""Batch normalisation over all processes, channels last."""

import torch
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce

from nerfcomp.process import in_group


class BatchNorm(nn.Module):
    """Normalise channels by mean and variance over the batches of all processes (Ioffe and Szegedy 2015).

    torch's ``SyncBatchNorm`` does so on accelerators only. N processes normalise as one process with their batches
    joined, so they learn what it would learn; all need batches of one size.

    Args:
        channels: Number of channels.
        eps: Added to the variance.
        momentum: Share of the newest batch in the running statistics.

    Attributes:
        weight: (channels,) scale.
        bias: (channels,) shift.
        running_mean: (channels,) used in evaluation.
        running_var: (channels,) likewise.

    Example:
        >>> BatchNorm(1)(torch.tensor([-1.0, 1.0]).view(2, 1, 1, 1)).flatten().round(decimals=4).tolist()
        [-1.0, 1.0]
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.eps = eps
        self.momentum = momentum

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, h, w, channels)."""
        if self.training and _processes() > 1:
            return self._together(x)
        statistics = (self.running_mean, self.running_var, self.weight, self.bias)
        channels_second = x.permute(0, 3, 1, 2)  # a view; torch has a kernel for these strides
        out = nn.functional.batch_norm(channels_second, *statistics, self.training, self.momentum, self.eps)
        return out.permute(0, 2, 3, 1)

    def _together(self, x: Tensor) -> Tensor:
        """Normalise by the moments of all processes."""
        wide, axes = x.float(), tuple(range(x.dim() - 1))
        moments = torch.stack([wide.mean(axes), wide.square().mean(axes)])
        mean, square = all_reduce(moments) / _processes()
        variance = square - mean.square()
        count = x.numel() // x.shape[-1] * _processes()
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / max(count - 1, 1), self.momentum)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return torch.addcmul(self.bias - mean * scale, wide, scale).to(x.dtype)


def _processes() -> int:
    """Number of processes that train together."""
    return torch.distributed.get_world_size() if in_group() else 1
