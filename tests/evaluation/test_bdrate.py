"""Bjontegaard delta rate on curves whose saving is known, and its interpolation against slow references."""

from pathlib import Path

import numpy as np
import pytest

from nerfcomp.errors import NerfcompError
from nerfcomp.evaluation.bdrate import RatePoint, bd_rate, integral, read_curve, slopes
from nerfcomp.evaluation.report import write_csv
from nerfcomp.evaluation.sweep import SweepPoint

CURVE = [RatePoint(100e3, 24.1), RatePoint(150e3, 26.0), RatePoint(240e3, 28.3), RatePoint(400e3, 29.9)]


def evaluate(x: np.ndarray, y: np.ndarray, at: float) -> float:
    """The cubic Hermite polynomial of the interval that contains ``at``, from the textbook."""
    k = min(int(np.searchsorted(x, at, side="right")) - 1, len(x) - 2)
    h, d = x[k + 1] - x[k], slopes(x, y)
    t = (at - x[k]) / h
    basis = [2 * t**3 - 3 * t**2 + 1, t**3 - 2 * t**2 + t, -2 * t**3 + 3 * t**2, t**3 - t**2]
    return float(basis[0] * y[k] + basis[1] * h * d[k] + basis[2] * y[k + 1] + basis[3] * h * d[k + 1])


def test_a_curve_saves_nothing_against_itself() -> None:
    assert bd_rate(CURVE, CURVE).percent == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("factor", [0.5, 0.85, 1.3])
def test_a_constant_factor_is_found_exactly(factor: float) -> None:
    other = [RatePoint(factor * size, psnr) for size, psnr in reversed(CURVE)]
    assert bd_rate(CURVE, other).percent == pytest.approx(100 * (factor - 1))
    assert bd_rate(other, CURVE).percent == pytest.approx(100 * (1 / factor - 1))


def test_a_factor_that_grows_is_averaged_geometrically() -> None:
    first = [RatePoint(1000 * 2 ** (psnr / 3), psnr) for psnr in (20.0, 23.0, 27.0, 32.0)]
    second = [
        RatePoint(1000 * 2 ** (psnr / 3) * np.exp(-0.01 * (psnr - 20)), psnr) for psnr in (20.0, 25.0, 28.0, 32.0)
    ]
    assert bd_rate(first, second).percent == pytest.approx(100 * (np.exp(-0.06) - 1))


def test_only_common_psnrs_count() -> None:
    cheap_below = [RatePoint(10.0, 10.0), RatePoint(50e3, 24.1), *CURVE[1:]]
    saving = bd_rate(CURVE, cheap_below)
    assert saving.low == 24.1 and saving.high == 29.9 and saving.percent < 0


def test_the_integral_is_that_of_many_small_steps() -> None:
    x, y = np.array([0.0, 0.7, 1.1, 2.5, 4.0]), np.array([1.0, 3.0, 2.5, 2.4, 8.0])
    middles = 0.3 + (np.arange(2000) + 0.5) * 3.2 / 2000
    assert integral(x, y, 0.3, 3.5) == pytest.approx(np.mean([evaluate(x, y, t) for t in middles]) * 3.2, rel=1e-5)


def test_the_interpolation_is_that_of_scipy() -> None:
    interpolate = pytest.importorskip("scipy.interpolate")
    rng = np.random.default_rng(0)
    for _ in range(20):
        x, y = np.sort(rng.normal(size=6)), rng.normal(size=6)
        reference = interpolate.PchipInterpolator(x, y)
        np.testing.assert_allclose(slopes(x, y), reference.derivative()(x), atol=1e-9)
        low, high = x[0] + 0.1 * (x[-1] - x[0]), x[-1] - 0.2 * (x[-1] - x[0])
        assert integral(x, y, low, high) == pytest.approx(float(reference.integrate(low, high)))


def test_monotone_points_stay_monotone() -> None:
    x, y = np.array([0.0, 1.0, 2.0, 3.0, 4.0]), np.array([0.0, 0.01, 0.02, 5.0, 5.01])
    values = [evaluate(x, y, t) for t in np.linspace(0, 4, 401)]
    assert (np.diff(values) >= -1e-12).all()


def test_curves_apart_are_refused() -> None:
    far = [RatePoint(size, psnr + 20) for size, psnr in CURVE]
    with pytest.raises(NerfcompError, match="do not overlap: one reaches 24.10 to 29.90 dB, the other 44.10 to 49.90"):
        bd_rate(CURVE, far)


@pytest.mark.parametrize("points", [CURVE[:2], [*CURVE, CURVE[0]], [RatePoint(0.0, 20.0), *CURVE]])
def test_points_that_are_no_curve_are_refused(points: list[RatePoint]) -> None:
    with pytest.raises(NerfcompError, match="A curve needs"):
        bd_rate(CURVE, points)


def test_the_field_before_encoding_is_no_point(tmp_path: Path) -> None:
    rows = [SweepPoint("fp32", 10**6, 1.0, 30.0, 0.9, 2), SweepPoint("-20", 10**5, 10.0, 28.0, 0.8, 2)]
    write_csv(tmp_path / "sweep.csv", rows)
    assert read_curve(tmp_path / "sweep.csv") == [RatePoint(1e5, 28.0)]
    with pytest.raises(NerfcompError, match="no sweep at"):
        read_curve(tmp_path / "other.csv")
