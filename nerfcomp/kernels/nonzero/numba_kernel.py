"""Packing and adding up what is not zero of gradients, on the CPU. Notation as in `nerfcomp.kernels.nonzero`.

Both kernels run through a bitmap of 64 entries per word, so that what no process has touched costs a look at a word. An
entry is handled as one 64-bit word while it is moved and as two floats while it is added.
"""

import numpy as np
from torch import Tensor

from nerfcomp.kernels.numba_setup import Array, Scalar, kernel

_ONE, _ZERO = np.uint64(1), np.uint64(0)


@kernel
def _pack(entries: Array, words: Array, values: Array, at: Scalar) -> Scalar:
    """Write the bitmap of the entries of one tensor, and those that are not zero from ``at`` on; returns the end."""
    for word in range(len(words)):
        bits, begin = _ZERO, 64 * word
        for i in range(min(64, len(entries) - begin)):
            entry = entries[begin + i]
            values[at] = entry
            if entry != _ZERO:
                bits |= _ONE << np.uint64(i)
                at += 1
        words[word] = bits
    return at


@kernel
def _spread(word: Scalar, values: Array, at: Scalar, block: Array) -> Scalar:
    """Put the entries of one word at their places among 64, zeros elsewhere, without a branch; returns the end."""
    for i in range(64):
        bit = (word >> np.uint64(i)) & _ONE
        block[i] = values[at] & (_ZERO - bit)
        at += np.int64(bit)
    return at


@kernel
def _merge(tensor: Array, words: Array, values: Array, at: Array, scale: Scalar) -> None:
    """Fill one flat tensor with scaled sums over all processes; the values of each begin at ``at``, which moves on."""
    block, total = np.empty(64, np.uint64), np.empty(128, np.float32)
    numbers = block.view(np.float32)
    for word in range(words.shape[1]):
        touched = _ZERO
        for rank in range(len(words)):
            touched |= words[rank, word]
        if touched == _ZERO:
            continue
        total[:] = np.float32(0.0)
        for rank in range(len(words)):
            if words[rank, word] != _ZERO:
                at[rank] = _spread(words[rank, word], values[rank], at[rank], block)
                for i in range(128):
                    total[i] += numbers[i]
        begin = 128 * word
        for i in range(min(128, len(tensor) - begin)):
            tensor[begin + i] = total[i] * scale


def pack_numba(tensors: list[Tensor], words: Tensor, values: Tensor) -> int:
    """See `nerfcomp.kernels.nonzero.pack_nonzero`; all tensors lie on the CPU."""
    bits, packed, row, at = words.numpy().view(np.uint64), values.numpy().view(np.uint64), 0, 0
    for tensor in tensors:
        entries = tensor.view(-1).numpy().view(np.uint64)
        rows = -(-len(entries) // 64)
        at = _pack(entries, bits[row : row + rows], packed, at)
        row += rows
    return int(at)


def merge_numba(tensors: list[Tensor], words: Tensor, values: Tensor, scale: float) -> None:
    """See `nerfcomp.kernels.nonzero.merge_nonzero`; all tensors lie on the CPU."""
    bits, packed, row = words.numpy().view(np.uint64), values.numpy().view(np.uint64), 0
    at = np.zeros(len(words), np.int64)
    for tensor in tensors:
        rows = -(-tensor.numel() // 128)
        _merge(tensor.view(-1).numpy(), bits[:, row : row + rows], packed, at, np.float32(scale))
        row += rows
