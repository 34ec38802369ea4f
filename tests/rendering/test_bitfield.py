"""Morton bitfields against numbers computed bit by bit."""

import pytest
import torch

from nerfcomp.rendering.bitfield import from_morton_bitfield, morton_order, to_morton_bitfield


def test_order_interleaves_bits() -> None:
    """(x, y, z) = (5, 3, 6) = (101, 011, 110): z y x per bit from the top 101 110 011 = 0b101110011."""
    assert int(morton_order(8)[5, 3, 6]) == 0b101_110_011
    assert torch.equal(morton_order(8).flatten().sort().values, torch.arange(512))


def test_round_trip_and_place_of_bits() -> None:
    occupied = torch.rand(1, 8, 8, 8) < 0.3
    bits = to_morton_bitfield(occupied)
    assert bits.shape == (64,)
    for x, y, z in torch.randint(8, (50, 3)).tolist():
        number = int(morton_order(8)[x, y, z])
        assert int(bits[number // 8]) >> number % 8 & 1 == int(occupied[0, x, y, z])
    assert torch.equal(from_morton_bitfield(bits, 1, 8), occupied)


def test_coarse_cascades_show_the_fine_ones_inside() -> None:
    occupied = torch.zeros(2, 8, 8, 8, dtype=torch.bool)
    occupied[0, 0, 0, 0] = True
    back = from_morton_bitfield(to_morton_bitfield(occupied), 2, 8)
    assert back[1].nonzero().tolist() == [[2, 2, 2]]


def test_wrong_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="takes 64 bytes, found 63"):
        from_morton_bitfield(torch.zeros(63, dtype=torch.uint8), 1, 8)
    with pytest.raises(ValueError, match="power of two"):
        morton_order(12)
