"""The trellis against nncodec's own and against trying every path."""

import itertools
from collections.abc import Iterable

import numpy as np
import pytest
from nncodec.extensions import deepCABAC

from nerfcomp.codec.quantizers import Quantized, dequantize, quantize, step_size
from nerfcomp.codec.trellis import count_flags, find_cheap_levels, find_levels, rates_from, total_bits

NEXT = [[0, 2], [7, 5], [1, 3], [6, 4], [2, 0], [5, 7], [3, 1], [4, 6]]


def allowed_levels(state: int, limit: int) -> list[int]:
    """Multiples of the step that a state can decode."""
    return [level for level in range(-limit, limit + 1) if level == 0 or level % 2 == state % 2]


def next_state(state: int, level: int) -> int:
    return NEXT[state][(abs(level) + (state & 1 if level else 0)) // 2 % 2]


def brute_force(values: np.ndarray) -> float:
    """Least squared error over all paths, by trying them."""
    best = np.inf

    def walk(index: int, state: int, error: float) -> None:
        nonlocal best
        if error >= best:
            return
        if index == len(values):
            best = error
            return
        for level in allowed_levels(state, 6):
            walk(index + 1, next_state(state, level), error + (values[index] - level) ** 2)

    walk(0, 0, 0.0)
    return best


@pytest.mark.parametrize("qp", [-60, -33, -32, -20, 0, 9])
@pytest.mark.parametrize("sparsity", [0.0, 0.9])
def test_levels_equal_nncodec(qp: int, sparsity: float) -> None:
    rng = np.random.default_rng(qp + 1000)
    values = rng.laplace(0, 0.3, 4000).astype(np.float32)
    values[rng.random(4000) < sparsity] = 0
    encoder = deepCABAC.Encoder()
    encoder.initCtxModels(10, 0)
    expected = np.zeros(4000, np.int32)
    encoder.quantLayer(values, expected, 1, 2, qp, 0.0, 10, 0, 1)
    np.testing.assert_array_equal(find_levels(values, step_size(qp)), expected)


@pytest.mark.parametrize("seed", range(5))
def test_no_path_has_less_error(seed: int) -> None:
    values = np.random.default_rng(seed).uniform(-4, 4, 5).astype(np.float32)
    levels = find_levels(values, 1.0)
    assert np.isclose(((values - levels) ** 2).sum(), brute_force(values.astype(np.float64)))


@pytest.mark.parametrize("rd_lambda", [0.0, 0.02, 0.11])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_zeros_stay_zero(share: float, rd_lambda: float) -> None:
    rng = np.random.default_rng(7)
    for qp in range(-40, 8, 5):
        values = rng.normal(0, 0.2, 2000).astype(np.float32)
        zeros = rng.random(2000) < share
        values[zeros] = 0.0
        sensitivity = rng.random(2000) * (rng.random(2000) < 0.7)
        quantized = quantize(values, qp, rd_lambda=rd_lambda * step_size(qp) ** 2, sensitivity=sensitivity)
        assert not dequantize(quantized)[zeros].any()
        assert is_allowed(quantized.levels.tolist())


def test_zeros_cost_others_no_more_than_they_must() -> None:
    values = np.array([0.0, 1.1, 0.0, -2.6, 0.4], np.float32)
    paths = itertools.product(*(range(-4, 5) if value else [0] for value in values))
    least = min(((values - np.array(path)) ** 2).sum() for path in paths if is_allowed(path))
    levels = find_levels(values, 1.0, keep_zeros=True)
    assert np.isclose(((values - levels) ** 2).sum(), least)


def is_allowed(levels: Iterable[int]) -> bool:
    """Whether the state machine can decode these levels."""
    state = 0
    for level in levels:
        if level not in allowed_levels(state, abs(level)):
            return False
        state = next_state(state, level)
    return True


def test_levels_follow_the_state_machine() -> None:
    levels = quantize(np.random.default_rng(0).laplace(0, 3, 500).astype(np.float32), 0).levels
    assert is_allowed(levels.tolist())


def test_weighted_levels_follow_the_state_machine() -> None:
    values = np.random.default_rng(0).laplace(0, 3, 500).astype(np.float32)
    levels = quantize(values, 0, rd_lambda=0.2, sensitivity=np.linspace(0, 2, 500)).levels
    assert is_allowed(levels.tolist())


def test_price_lowers_error_and_bits_together() -> None:
    values = np.random.default_rng(0).laplace(0, 0.01, 20000).astype(np.float32)
    qp, rd_lambda = -22, 0.1 * step_size(-22) ** 2

    def cost(quantized: Quantized) -> float:
        bits = total_bits(count_flags(quantized.levels, True))
        return float(((dequantize(quantized) - values) ** 2).sum() + rd_lambda * bits)

    assert cost(quantize(values, qp, rd_lambda=rd_lambda)) < 0.98 * cost(quantize(values, qp))


def test_values_that_do_not_matter_become_zero() -> None:
    values = np.ones(100, np.float32)
    sensitivity = np.zeros(100)
    sensitivity[::10] = 1.0
    levels = quantize(values, -20, rd_lambda=1e-6, sensitivity=sensitivity).levels
    assert (levels[sensitivity == 0] == 0).all()
    assert (levels[sensitivity > 0] != 0).all()


def test_equal_weights_and_no_rates_change_nothing() -> None:
    values = np.random.default_rng(1).normal(0, 2, 300).astype(np.float32)
    free = rates_from(count_flags(np.zeros(1, np.int32), True))
    free = free._replace(**{name: np.zeros_like(part) for name, part in free._asdict().items()})
    np.testing.assert_array_equal(find_cheap_levels(values, 0.5, np.ones(300), free), find_levels(values, 0.5))


@pytest.mark.parametrize("index", [1, 2, 11, 12, 13, 30, 300])
def test_flag_counts_of_one_index(index: int) -> None:
    counts = count_flags(np.array([-index], np.int32), dependent=False)
    assert counts.zero[0, 0].tolist() == [0, 1]
    assert counts.sign[0].tolist() == [0, 1]
    assert counts.more[1, :, 1].sum() == min(index - 1, 11)
    assert counts.more[1, :, 0].sum() == (1 if index <= 11 else 0)
    assert counts.escapes.tolist() == [int(index > 11 and (index - 11).bit_length() - 1 == n) for n in range(32)]


def test_all_states_are_reached() -> None:
    reached = {0}
    for _, parity in itertools.product(range(8), range(2)):
        reached |= {NEXT[state][parity] for state in reached}
    levels = quantize(np.random.default_rng(2).normal(0, 2, 2000).astype(np.float32), 0).levels
    assert set(np.nonzero(count_flags(levels, True).zero.sum(axis=(1, 2)))[0]) == reached
