"""Our files beside published points."""

import csv
from pathlib import Path

import imageio.v3 as iio
import pytest

from benchmarks.published_lego import draw, read_file, write_table
from nerfcomp.evaluation.published import write_published
from nerfcomp.evaluation.report import ViewResult


@pytest.mark.slow
def test_an_evaluation_becomes_a_point(tmp_path: Path) -> None:
    write_published(
        tmp_path, "a.nfc", "lego", [ViewResult("a", 30.0, 0.5, 1.0), ViewResult("b", 32.0, 0.7, 1.0)], 400_000
    )
    found = read_file(tmp_path)
    assert found[:3] == ("a.nfc", 0.4, 31.0)
    curves = {"nerfcomp": [found, found._replace(name="b.nfc", megabytes=0.8)], "student": [found]}
    draw(curves, tmp_path / "x.png")
    assert iio.imread(tmp_path / "x.png").std() > 1
    write_table(curves, tmp_path / "x.csv")
    with open(tmp_path / "x.csv", newline="") as table:
        rows = list(csv.DictReader(table))
    assert [row["Submethod"] for row in rows] == ["nerfcomp: a.nfc", "nerfcomp: b.nfc", "student: a.nfc"]
    assert all(row["Size [Bytes]"] == "400000" and float(row["PSNR"]) == 31.0 for row in rows)
