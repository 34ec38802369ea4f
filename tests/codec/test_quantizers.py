import numpy as np
import pytest

from nerfcomp.codec import dequantize, encode_nnc, estimate_bytes, quantize, step_size


@pytest.mark.parametrize("qp", range(-128, 124))
def test_four_more_double_the_step(qp: int) -> None:
    assert step_size(qp + 4) == 2 * step_size(qp)
    assert step_size(qp) < step_size(qp + 1)


@pytest.mark.parametrize("dependent, bound", [(False, 0.5), (True, 1.5)])
def test_error_is_bounded(dependent: bool, bound: float) -> None:
    values = np.random.default_rng(0).normal(size=3000).astype(np.float32)
    error = np.abs(dequantize(quantize(values, -20, dependent)) - values)
    assert error.max() <= bound * step_size(-20) * 1.001


def test_dependent_quantization_has_less_error_at_less_rate() -> None:
    values = np.random.default_rng(0).laplace(size=20000).astype(np.float32)
    plain, trellis = quantize(values, 0, False), quantize(values, -3, True)
    error = [float(((dequantize(quantized) - values) ** 2).mean()) for quantized in (plain, trellis)]
    size = [len(encode_nnc({"w": quantized})) for quantized in (plain, trellis)]
    assert error[1] < error[0] and size[1] < size[0]


@pytest.mark.parametrize("scale", [0.003, 0.03, 3.0])
def test_estimate_is_close_to_coded_bytes(scale: float) -> None:
    quantized = quantize(np.random.default_rng(0).laplace(0, scale, 50000).astype(np.float32), -28)
    coded = len(encode_nnc({"w": quantized}))
    assert 0.94 * coded < estimate_bytes(quantized) < 1.01 * coded


@pytest.mark.parametrize(
    "values, qp, sentence",
    [
        (np.array([1.0, np.nan], np.float32), -20, "not finite"),
        (np.array([1.0, -np.inf], np.float32), -20, "not finite"),
        (np.array([1e300]), -20, "not finite"),
        (np.zeros((5, 0), np.float32), -20, "1 to 2\\^31 - 1 elements"),
        (np.zeros((1,) * 9, np.float32), -20, "at most 8 dimensions"),
        (np.array([1e6], np.float32), -75, "raise its qp"),
        (np.array([1, 2]), -20, "only float tensors"),
        (np.ones(3, np.float32), 128, "from -128 \\(fine\\) to 127"),
        (np.ones(3, np.float32), -129, "from -128 \\(fine\\) to 127"),
        (np.ones(3, np.float32), True, "give an integer"),
        (np.ones(3, np.float32), -20.0, "give an integer"),
    ],
)
def test_refusals_say_why(values: np.ndarray, qp: int, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        quantize(values, qp)


@pytest.mark.parametrize("rd_lambda", [-1.0, np.nan, np.inf])
def test_senseless_prices_are_refused(rd_lambda: float) -> None:
    with pytest.raises(ValueError, match="rd_lambda"):
        quantize(np.ones(3, np.float32), -20, rd_lambda=rd_lambda)
    with pytest.raises(ValueError, match="rd_lambda"):
        quantize(np.ones(3, np.float32), -20, dependent=False, rd_lambda=1.0)


@pytest.mark.parametrize("sensitivity", [np.ones(2), -np.ones(3), np.array([1, np.nan, 1])])
def test_senseless_sensitivities_are_refused(sensitivity: np.ndarray) -> None:
    with pytest.raises(ValueError, match="sensitivity"):
        quantize(np.ones(3, np.float32), -20, rd_lambda=1e-3, sensitivity=sensitivity)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
def test_every_float_type_and_layout_is_read_alike(dtype: str) -> None:
    values = np.random.default_rng(0).integers(-64, 64, (6, 8)) / 64
    expected = quantize(values.astype(np.float32), -24).levels
    np.testing.assert_array_equal(quantize(np.asfortranarray(values.astype(dtype)), -24).levels, expected)
    np.testing.assert_array_equal(quantize(values.astype(dtype).repeat(2, axis=1)[:, ::2], -24).levels, expected)


@pytest.mark.parametrize("qp", [-128, 127])
@pytest.mark.parametrize("dependent", [False, True])
def test_largest_magnitude_survives(qp: int, dependent: bool) -> None:
    values = np.array([1, -1, 0], np.float32) * np.float32(2**30 * step_size(qp))
    np.testing.assert_allclose(dequantize(quantize(values, qp, dependent)), values, rtol=1e-6)
