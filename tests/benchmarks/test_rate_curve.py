"""The benchmark of training for size: its table in the columns of 3DGS.zip, and what a point changes."""

import csv
from argparse import Namespace
from pathlib import Path

from benchmarks.rate_curve import Point, known_points, overlay, survey_rows
from nerfcomp.evaluation.published import survey_csv
from nerfcomp.evaluation.report import write_csv

POINTS = [
    Point("plain", "-6", 546_419, 31.774, 0.96, 0.0),
    Point("trained", "lambda_0.001", 368_822, 31.732, 0.96, 90.0),
]


def test_points_in_the_columns_of_the_survey() -> None:
    rows = list(csv.DictReader(survey_csv(survey_rows(POINTS)).splitlines()))
    assert [(row["Submethod"], int(row["Size [Bytes]"]), float(row["PSNR"])) for row in rows] == [
        ("plain -6", 546_419, 31.774),
        ("trained lambda_0.001", 368_822, 31.732),
    ]


def test_points_that_are_there_are_known(tmp_path: Path) -> None:
    write_csv(tmp_path / "trained.csv", POINTS[1:])
    assert known_points(tmp_path / "trained.csv") == {"lambda_0.001": POINTS[1]}
    assert known_points(tmp_path / "none.csv") == {}


def test_what_it_is_compared_with_is_trained_for_as_many_steps_without_rounding(tmp_path: Path) -> None:
    arguments = Namespace(steps=7, ckpt=Path("a.ckpt"), root=Path("scene"))
    plain, rated = (overlay(arguments, stage, tmp_path / "x") for stage in (None, {"rd_lambda": 1e-3}))
    assert plain["model"]["init_args"].pop("hooks") == [] and rated["trainer"]["callbacks"].pop(1)
    assert plain == rated


def test_a_point_changes_the_cost_of_bits_alone(tmp_path: Path) -> None:
    arguments = Namespace(steps=7, ckpt=Path("a.ckpt"), root=Path("scene"))
    one, other = (overlay(arguments, {"rd_lambda": cost}, tmp_path / "x") for cost in (1e-3, 3e-3))
    stages = [value["trainer"]["callbacks"].pop(1) for value in (one, other)]
    assert one == other and [stage["init_args"]["rd_lambda"] for stage in stages] == [1e-3, 3e-3]
    assert one["trainer"]["max_steps"] == 7 and one["model"]["init_args"]["init_from"] == "a.ckpt"
