"""Bjontegaard delta rate on curves whose saving is known, worked out by hand or by another tool."""

from pathlib import Path

import numpy as np
import pytest

from nerfcomp.errors import NerfcompError
from nerfcomp.evaluation.bdrate import RatePoint, bd_rate, read_curve
from nerfcomp.evaluation.report import write_csv
from nerfcomp.evaluation.sweep import SweepPoint

CURVE = [RatePoint(100e3, 24.1), RatePoint(150e3, 26.0), RatePoint(240e3, 28.3), RatePoint(400e3, 29.9)]


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


def test_a_corner_that_was_integrated_by_hand() -> None:
    # ln(bytes) 0, 1, 1 at three PSNRs one apart. Fritsch and Carlson's slopes are 3/2 at the first (the three-point
    # formula), 0 at the second (the chords do not both rise) and 0 at the third. A cubic over h with values y0, y1 and
    # slopes d0, d1 has the area h (y0 + y1) / 2 + h^2 (d0 - d1) / 12: 5/8 and 1. The straight line 0, 1/2, 1 has 1.
    corner = [RatePoint(float(np.exp(y)), x) for x, y in ((30.0, 0.0), (31.0, 1.0), (32.0, 1.0))]
    line = [RatePoint(float(np.exp(y)), x) for x, y in ((30.0, 0.0), (31.0, 0.5), (32.0, 1.0))]
    assert bd_rate(line, corner).percent == pytest.approx(100 * (np.exp((5 / 8 + 1 - 1) / 2) - 1))


def test_the_published_example_of_another_tool() -> None:
    # Points: README of FAU-LMS/bjontegaard. Result: its version 1.3.0, `bd_rate(..., method="pchip")`, which its
    # authors checked against JVET's spreadsheet (JVET-T2010) to ten digits.
    anchor = [(9487.76, 40.037), (4593.60, 38.615), (2486.44, 36.845), (1358.24, 34.851)]
    test = [(9787.80, 40.121), (4469.00, 38.651), (2451.52, 36.970), (1356.24, 34.987)]
    saving = bd_rate([RatePoint(*point) for point in anchor], [RatePoint(*point) for point in test])
    assert saving.percent == pytest.approx(-4.417485350589, abs=1e-9)
    assert (saving.low, saving.high) == (34.987, 40.037)


def test_monotone_points_stay_monotone() -> None:
    # one cubic through all points dips below the first curve and would show a saving that is not there
    steep = [(30.0, 0.0), (31.0, 0.01), (32.0, 0.02), (33.0, 5.0), (34.0, 5.01)]
    flat = [RatePoint(1.0, psnr) for psnr, _ in steep[:3]]
    assert bd_rate(flat, [RatePoint(float(np.exp(y)), x) for x, y in steep]).percent >= 0


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
