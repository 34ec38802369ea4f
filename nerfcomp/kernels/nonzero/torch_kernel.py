"""Packing and adding up what is not zero of gradients in plain torch, on any device.

Notation as in `nerfcomp.kernels.nonzero`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def pack_torch(tensors: Sequence[Tensor], words: Tensor, values: Tensor) -> int:
    """See `nerfcomp.kernels.nonzero.pack_nonzero`."""
    row, at = 0, 0
    shifts = torch.arange(64, device=words.device)
    for tensor in tensors:
        entries = tensor.view(-1).view(torch.int64)
        rows = -(-len(entries) // 64)
        mask = torch.nn.functional.pad(entries != 0, (0, 64 * rows - len(entries))).view(rows, 64)
        words[row : row + rows] = (mask.long() << shifts).sum(1)
        found = entries[entries != 0]
        values[at : at + len(found)] = found
        row, at = row + rows, at + len(found)
    return at


def merge_torch(tensors: Sequence[Tensor], words: Tensor, values: Tensor, scale: float) -> None:
    """See `nerfcomp.kernels.nonzero.merge_nonzero`."""
    row, at = 0, [0] * len(words)
    shifts = torch.arange(64, device=words.device)
    for tensor in tensors:
        entries = tensor.view(-1, 2)
        rows = -(-len(entries) // 64)
        total, touched = torch.zeros_like(entries), torch.zeros(len(entries), dtype=torch.bool, device=words.device)
        for rank in range(len(words)):
            mask = (words[rank, row : row + rows, None] >> shifts & 1).bool().view(-1)[: len(entries)]
            count = int(mask.sum())
            total[mask] += values[rank, at[rank] : at[rank] + count].view(torch.float32).view(-1, 2)
            touched |= mask
            at[rank] += count
        entries[touched] = total[touched] * scale
        row += rows
