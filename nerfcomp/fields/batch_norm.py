"""Batch normalisation over all processes."""

import torch
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce


class BatchNorm(nn.BatchNorm2d):
    """Normalise channels by mean and variance over the batches of all processes (Ioffe and Szegedy 2015).

    torch's ``SyncBatchNorm`` does so on accelerators only. N processes normalise as one process with their batches
    joined, so they learn what it would learn; all need batches of one size.

    Args:
        channels: Number of channels.

    Example:
        >>> BatchNorm(1)(torch.tensor([-1.0, 1.0]).view(2, 1, 1, 1)).flatten().round(decimals=4).tolist()
        [-1.0, 1.0]
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, channels, h, w)."""
        if not self.training or _processes() == 1:
            return super().forward(x)
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
        wide = x.float()
        moments = torch.stack([wide.mean((0, 2, 3)), wide.square().mean((0, 2, 3))])
        mean, square = all_reduce(moments) / _processes()
        variance = square - mean.square()
        count = x.numel() // x.shape[1] * _processes()
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / max(count - 1, 1), self.momentum)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        shift = self.bias - mean * scale
        out: Tensor = (wide * scale[:, None, None] + shift[:, None, None]).to(x.dtype)
        return out


def _processes() -> int:
    """Number of processes that train together."""
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_world_size() if distributed else 1
