"""Prices of levels against files of the real encoder."""

import numpy as np
import pytest
import torch

from nerfcomp.codec import Quantized, Storage, encode
from nerfcomp.rate_control.prices import measure_prices


def coded_bytes(levels: np.ndarray) -> int:
    """Bytes of levels in an NNC stream."""
    quantized = Quantized(levels.astype(np.int32), 0, False)
    (section,) = encode({"w": quantized}, {"w": Storage("w", 0, dependent=False)})
    return len(section.data)


def sparse_levels(zeros: float, size: int = 60_000, pairs: bool = False) -> np.ndarray:
    """Rounded Laplacian numbers, most of them dropped; with ``pairs`` two neighbours share their fate."""
    rng = np.random.default_rng(0)
    alive = rng.random(size // 2 if pairs else size) > zeros
    return np.round(rng.laplace(scale=1.5, size=size)) * (np.repeat(alive, 2) if pairs else alive)


@pytest.mark.parametrize("zeros", [0.0, 0.6, 0.97])
@pytest.mark.parametrize("pairs", [False, True])
def test_bits_are_those_of_the_file(zeros: float, pairs: bool) -> None:
    levels = sparse_levels(zeros, pairs=pairs)
    bits = measure_prices(torch.from_numpy(levels).float() * 0.25, 0.25).bits
    assert bits / 8 == pytest.approx(coded_bytes(levels), rel=0.05, abs=120)


@pytest.mark.parametrize("pairs", [False, True])
def test_the_first_level_costs_what_dropping_it_saves(pairs: bool) -> None:
    """A twentieth of all ones and minus ones go; the file shrinks by the price of each."""
    levels = sparse_levels(0.8, 200_000, pairs)
    ones = np.flatnonzero(np.abs(levels) == 1)
    dropped = np.random.default_rng(1).choice(ones, len(ones) // 20, replace=False)
    fewer = levels.copy()
    fewer[dropped] = 0
    saved = 8 * (coded_bytes(levels) - coded_bytes(fewer)) / len(dropped)
    assert measure_prices(torch.from_numpy(levels).float(), 1.0).first == pytest.approx(saved, rel=0.15)


def test_prices_of_nothing_and_of_no_zeros_are_within_limits() -> None:
    assert measure_prices(torch.zeros(100_000), 1.0).first == pytest.approx(12.0)
    assert measure_prices(torch.ones(1000), 1.0).first == pytest.approx(2.0)
