"""Tables, JSON and CSV as people and programs read them."""

import csv
import json
from pathlib import Path

import pytest

from nerfcomp.evaluation.report import ViewResult, format_table, mean_result, write_csv, write_json

VIEWS = [ViewResult("a", 30.0, 0.5, 1.0), ViewResult("b", 20.0, 0.7, 2.0)]


def test_mean_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no view"):
        mean_result([])


def test_psnr_is_averaged_per_image() -> None:
    assert mean_result(VIEWS).psnr == 25.0


def test_files_can_be_read_again(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"psnr": 1.5})
    write_csv(tmp_path / "a.csv", VIEWS)
    assert json.loads((tmp_path / "a.json").read_text()) == {"psnr": 1.5}
    with open(tmp_path / "a.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [ViewResult(r["name"], float(r["psnr"]), float(r["ssim"]), float(r["seconds"])) for r in rows] == VIEWS


def test_table_without_rows_is_its_header() -> None:
    assert format_table(["a", "bc"], []) == "a  bc"


@pytest.mark.parametrize("forced", [True, False])
def test_a_table_is_plain_text_of_any_width(forced: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if forced:  # what users set to keep colours in pipes
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("COLUMNS", "20")
    name = "/scenes/" + "long " * 60 + "[bold]a:smile:.nfc"
    lines = format_table(["file", "bytes"], [[name, 1], ["b", 2345]]).splitlines()
    assert lines == [
        "file" + " " * (len(name) - 4) + "  bytes",
        name + "      1",
        "b" + " " * (len(name) - 1) + "  2,345",
    ]


def test_wide_characters_take_two_columns() -> None:
    assert format_table(["name", "n"], [["場面", 1], ["a", 2]]).splitlines() == ["name  n", "場面  1", "a     2"]
