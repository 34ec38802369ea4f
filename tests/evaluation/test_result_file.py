"""Records of tuning runs: written, damaged, checked, averaged and drawn."""

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from PIL import Image

from nerfcomp.errors import NerfcompError
from nerfcomp.evaluation.result_file import BadEntry, TuningRecord, read_record, write_record
from nerfcomp.evaluation.result_plot import Layout, averaged, plot_record


def record(length: int = 100) -> TuningRecord:
    return TuningRecord(20 + np.arange(length) / 10, 1 / (1.0 + np.arange(length)), ())


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "result.txt"
    write_record(path, [24.5, 25.125], [0.25, 1e-5])
    assert path.read_text() == "psnr : [24.5, 25.125]\nloss : [0.25, 1e-05]\n"
    found = read_record(path)
    assert found.psnr.tolist() == [24.5, 25.125] and found.loss.tolist() == [0.25, 1e-5] and found.bad == ()


def test_every_bad_entry_is_named(tmp_path: Path) -> None:
    path = tmp_path / "result.txt"
    path.write_text("psnr : [30.1, 31.408a86, 30.2, ]\nloss : [0.1, nan, 0.2, 0.3]")
    found = read_record(path)
    assert found.bad == (BadEntry("psnr", 1, "31.408a86"), BadEntry("psnr", 3, ""), BadEntry("loss", 1, "nan"))
    assert str(found.bad[0]) == "psnr: entry 1 is '31.408a86', not a number"
    assert np.isnan(found.psnr[[1, 3]]).all() and found.psnr[[0, 2]].tolist() == [30.1, 30.2]


def test_lists_over_several_lines_and_cut_off_files(tmp_path: Path) -> None:
    path = tmp_path / "result.txt"
    path.write_text("loss : [0.5,\n 0.25]\npsnr : [30.0, 31")
    found = read_record(path)
    assert found.psnr.tolist() == [30.0, 31.0] and found.loss.tolist() == [0.5, 0.25]


def test_missing_lists_and_files(tmp_path: Path) -> None:
    path = tmp_path / "result.txt"
    path.write_text("psnr : [1]")
    with pytest.raises(NerfcompError, match="no list loss"):
        read_record(path)
    with pytest.raises(NerfcompError, match="no record at"):
        read_record(tmp_path / "no.txt")


def test_averages_leave_bad_entries_out() -> None:
    curve = averaged(np.array([1.0, np.nan, 3.0, np.nan, np.nan, np.nan, 7.0]), 0, None, 3)
    assert curve.values[0] == 2.0 and np.isnan(curve.values[1]) and curve.dropped == 1
    assert curve.iterations.tolist() == [3, 6]


def test_a_range_is_cut_out() -> None:
    curve = averaged(np.arange(100.0), 10, 41, 10)
    assert curve.values.tolist() == [14.5, 24.5, 34.5] and curve.iterations.tolist() == [20, 30, 40]
    assert curve.dropped == 1


@pytest.mark.parametrize(
    ("start", "end", "window"), [(100, None, 1), (50, 50, 1), (-1, None, 1), (0, 10, 11), (0, 9, 0)]
)
def test_ranges_and_windows_that_hold_nothing(start: int, end: int | None, window: int) -> None:
    with pytest.raises(NerfcompError, match="none of the|Cannot average"):
        averaged(np.arange(100.0), start, end, window)


@pytest.mark.slow
def test_drawn_side_by_side_or_above_each_other(tmp_path: Path) -> None:
    shapes = {}
    for layout in get_args(Layout):
        path = tmp_path / f"{layout}.png"
        curve = plot_record(record(), path, window=7, layout=layout)
        shapes[layout] = Image.open(path).size
        assert len(curve.values) == 14 and curve.dropped == 2
    assert shapes["horizontal"][0] > shapes["horizontal"][1] and shapes["vertical"][0] < shapes["vertical"][1]


def test_too_many_points_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NerfcompError, match="more than 10"):
        plot_record(record(), tmp_path / "a.png", window=1, max_points=10)
    assert not list(tmp_path.iterdir())
