import numpy as np
import pytest

from nerfcomp.kernels.interpolation import differences, interpolated

SHAPES = [(1, 1, 1), (2, 1, 3), (7, 8, 9), (16, 17, 31), (64, 64, 3), (8, 8, 200)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("step", [0.01, 0.5])
def test_no_error_is_larger_than_half_a_step_and_the_dead_zone(shape: tuple[int, int, int], step: float) -> None:
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    levels = differences(values, step)
    assert np.abs(interpolated(levels, step) - values).max() <= 0.551 * step
    assert levels.shape == shape and levels.dtype == np.int32


def test_cubic_curves_leave_fine_levels_empty() -> None:
    x = np.linspace(-1, 1, 64, dtype=np.float32)[:, None, None] + np.zeros((64, 1, 1), np.float32)
    levels = differences(x**3 - x, 1e-4)[:, 0, 0]
    assert not levels[33:61].any() and levels[:8].any()


def test_differences_are_to_splines_of_what_is_decoded() -> None:
    line = np.random.default_rng(1).normal(size=16).astype(np.float32)
    step = 0.25
    levels = differences(line.reshape(16, 1, 1), step)[:, 0, 0]
    known = interpolated(levels.reshape(16, 1, 1), step)[::2, 0, 0]
    inner = (9 * (known[1:-2] + known[2:-1]) - known[:-3] - known[3:]) / 16
    steps = (line[3:12:2] - inner) / step
    np.testing.assert_array_equal(levels[9:14], np.rint(steps) * (np.abs(steps) >= 0.55))
