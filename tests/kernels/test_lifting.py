import numpy as np
import pytest
import pywt
from numpy.typing import NDArray

from nerfcomp.kernels.lifting import _merge, _split, analyse, boxes, synthesise

SHAPES = [(1, 1, 1), (2, 1, 3), (7, 8, 9), (16, 17, 31), (64, 64, 3), (8, 8, 200)]


def noise(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES)
def test_values_come_back_from_coefficients_of_any_shape(shape: tuple[int, int, int]) -> None:
    values = noise(*shape)
    coefficients = analyse(values)
    assert coefficients.shape == shape and coefficients.dtype == np.float32
    np.testing.assert_allclose(synthesise(coefficients), values, atol=2e-5)


def test_a_split_is_that_of_the_published_filters() -> None:
    # bior4.4 of PyWavelets is CDF 9/7; away from the ends its bands are those of lifting, up to sign and place
    line = noise(64)
    split = line.copy()
    _split(split)
    low, high = pywt.dwt(line.astype(np.float64), "bior4.4", mode="symmetric")
    ours = split[8:24].astype(np.float64)
    assert min(np.abs(ours - low[8 + k : 24 + k]).max() for k in range(-2, 5)) < 1e-5
    ours = split[40:56].astype(np.float64)
    assert min(np.abs(ours - sign * high[8 + k : 24 + k]).max() for k in range(-2, 5) for sign in (1, -1)) < 1e-5
    _merge(split)
    np.testing.assert_allclose(split, line, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_errors_of_coefficients_count_nearly_alike(shape: tuple[int, int, int]) -> None:
    error = noise(*shape)
    spread = synthesise(error)
    assert 0.6 < float((spread**2).sum() / (error**2).sum()) < 1.5


def test_polynomials_leave_fine_bands_empty() -> None:
    x = np.linspace(-1, 1, 64, dtype=np.float32)
    fine = analyse((x[:, None, None] ** 3 + x[:, None] * x**2).astype(np.float32) * np.ones((64, 64, 64), np.float32))
    inside = slice(36, 60)
    assert np.abs(fine[inside, inside, inside]).max() < 1e-5


def test_boxes_end_with_one_value() -> None:
    assert boxes((256, 91, 3))[0].tolist() == [256, 91, 3]
    assert all(boxes(shape)[-1].tolist() == [1, 1, 1] for shape in SHAPES)
