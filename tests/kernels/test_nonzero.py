"""Packing and merging against plain sums, on both implementations."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from nerfcomp.kernels import nonzero
from nerfcomp.kernels.nonzero import numba_kernel, torch_kernel

SHAPES = [(200, 2), (7, 4), (64, 2), (3, 16)]


def gradients(rank: int, density: float) -> list[Tensor]:
    generator = torch.Generator().manual_seed(rank)
    out = []
    for shape in SHAPES:
        touched = torch.rand(shape[0], 1, generator=generator) < density
        out.append(torch.where(touched, torch.randn(shape, generator=generator), 0.0))
    return out


def send(ranks: list[list[Tensor]], pack: Callable[..., int]) -> tuple[Tensor, Tensor, list[int]]:
    """Messages of all ranks, and how many entries each has."""
    size = sum(t.numel() for t in ranks[0]) // 2 + 1
    words = torch.full((len(ranks), nonzero.word_count(ranks[0])), -1)
    values = torch.zeros(len(ranks), size, dtype=torch.int64)
    return words, values, [pack(own, words[rank], values[rank]) for rank, own in enumerate(ranks)]


@pytest.mark.parametrize("density", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("n_ranks", [1, 2, 3])
@pytest.mark.parametrize(
    ("pack", "merge"),
    [
        (numba_kernel.pack_numba, numba_kernel.merge_numba),
        (torch_kernel.pack_torch, torch_kernel.merge_torch),
    ],
)
def test_merging_is_the_mean(
    pack: Callable[..., int], merge: Callable[..., None], n_ranks: int, density: float
) -> None:
    ranks = [gradients(rank, density) for rank in range(n_ranks)]
    words, values, counts = send(ranks, pack)
    assert counts == [sum(int((t.view(-1, 2) != 0).any(1).sum()) for t in own) for own in ranks]
    want = [sum(same[1:], same[0]) * (1 / n_ranks) for same in zip(*ranks)]
    for own in ranks:
        merge(own, words, values, 1 / n_ranks)
        for found, wanted in zip(own, want):
            torch.testing.assert_close(found, wanted, rtol=0, atol=0)


def test_both_write_the_same_message() -> None:
    ranks = [gradients(rank, 0.3) for rank in range(2)]
    first, second = send(ranks, numba_kernel.pack_numba), send(ranks, torch_kernel.pack_torch)
    assert torch.equal(first[0], second[0]) and first[2] == second[2]
    for rank, count in enumerate(first[2]):
        assert torch.equal(first[1][rank, :count], second[1][rank, :count])


def test_what_cannot_be_packed() -> None:
    assert nonzero.packable([torch.zeros(4, 2)])
    assert not nonzero.packable([torch.zeros(4, 2), torch.zeros(3)])
    assert not nonzero.packable([torch.zeros(4, 2, dtype=torch.float64)])
    assert not nonzero.packable([torch.zeros(4, 2).t()])
