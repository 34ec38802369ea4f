"""What is not zero of large gradients: packed for sending, and added up over processes.

Of a hash grid's tables a step touches few rows, so that most of their gradients are zero. Notation of this file: R
processes; an *entry* is two neighbouring numbers of a float32 tensor; a *message* is a bitmap, one bit per entry of all
tensors in turn (64 to a word, a tensor begins a new word), and the K entries whose bit is set, in order.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from nerfcomp.kernels.nonzero.numba_kernel import merge_numba, pack_numba
from nerfcomp.kernels.nonzero.torch_kernel import merge_torch, pack_torch


def word_count(tensors: Sequence[Tensor]) -> int:
    """Words of the bitmap of some tensors.

    >>> word_count([torch.zeros(64, 2), torch.zeros(8, 2)])
    2
    """
    return sum(-(-tensor.numel() // 128) for tensor in tensors)


def packable(tensors: Sequence[Tensor]) -> bool:
    """Whether these tensors can be packed: contiguous float32 of an even number of elements.

    >>> packable([torch.zeros(4, 2)]), packable([torch.zeros(3)])
    (True, False)
    """
    return all(t.dtype == torch.float32 and t.is_contiguous() and t.numel() % 2 == 0 for t in tensors)


def pack_nonzero(tensors: Sequence[Tensor], words: Tensor, values: Tensor) -> int:
    """Pack the entries that are not zero.

    Args:
        tensors: `packable` ones.
        words: (B,) int64 with room for `word_count` words; becomes the bitmap.
        values: (C,) int64, one per entry and one more; its first K become the entries.

    Returns:
        K.

    >>> words, values = torch.zeros(1).long(), torch.zeros(3).long()
    >>> pack_nonzero([torch.tensor([0.0, 0.0, 0.0, 5.0])], words, values), words.tolist()
    (1, [2])
    >>> values[:1].view(torch.float32).tolist()
    [0.0, 5.0]
    """
    flat = [tensor.detach() for tensor in tensors]
    if words.device.type == "cpu":
        return pack_numba(flat, words, values)
    return pack_torch(flat, words, values)


def merge_nonzero(tensors: Sequence[Tensor], words: Tensor, values: Tensor, scale: float) -> None:
    """Set tensors to ``scale`` times the sum of R messages, added in the order of processes: the same bits everywhere.

    Args:
        tensors: One process's own tensors, as they were packed; entries that no message has stay as they are.
        words: (R, B) bitmaps, this process's among them.
        values: (R, C) entries.
        scale: Factor of the sums.

    >>> one, two = torch.tensor([1.0, 2.0, 0.0, 0.0]), torch.tensor([3.0, 4.0, 5.0, 6.0])
    >>> words, values = torch.zeros(2, 1).long(), torch.zeros(2, 3).long()
    >>> [pack_nonzero([tensor], words[rank], values[rank]) for rank, tensor in enumerate((one, two))]
    [1, 2]
    >>> merge_nonzero([one], words, values, 0.5)
    >>> one.tolist()
    [2.0, 3.0, 2.5, 3.0]
    """
    flat = [tensor.detach() for tensor in tensors]
    if words.device.type == "cpu":
        merge_numba(flat, words, values, scale)
    else:
        merge_torch(flat, words, values, scale)
