"""The benchmark of training provoking scenes for size: its rows, which runs it keeps, and what it hands on."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from benchmarks import provoke_rate
from benchmarks.provoke import Case
from benchmarks.provoke_rate import Run, main
from nerfcomp.artifacts.artifact import SceneArtifact
from nerfcomp.artifacts.coded_tensors import coded_tensors
from nerfcomp.artifacts.reading import read_scene_artifact
from nerfcomp.callbacks import RateStage
from tests.teacher import tiny_teacher

ASKED = ["--scenes", "glass", "dark_photo", "--steps", "3", "--size", "8"]


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, int, float]]:
    """Runs that were trained; seed 1 loses half a dB, and a bit that costs more makes a smaller file."""
    done = []

    def measured(case: Case, costs: list[float]) -> Iterator[Run]:
        for cost in costs:
            done.append((case.scene, case.config, case.seed, cost))
            size = 20_000 if cost > 1e-3 else 40_000
            yield Run(case.scene, case.seed, cost, 30.0, 90_000, 29.0, size, 30.0 - 0.5 * (case.seed == 1))

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(provoke_rate, "measure", measured)
    return done


@pytest.mark.slow
def test_the_worst_seed_says_what_is_lost(asked: list[tuple[str, str, int, float]], tmp_path: Path) -> None:
    rows = main([*ASKED, "--seeds", "0", "1", "--costs", "1e-3", "2e-3"])
    assert ("glass", 1e-3, "30.00 30.00", "90:29.00 90:29.00", "40:30.00 40:29.50", 0.5) in rows
    assert ("dark_photo", 2e-3, "30.00 30.00", "90:29.00 90:29.00", "20:30.00 20:29.50", 0.5) in rows
    with open(tmp_path / "runs/benchmarks/provoke_rate.csv", newline="") as table:
        assert len(list(csv.DictReader(table))) == len(rows) == 4


@pytest.mark.slow
def test_runs_are_kept_and_captures_are_trained_as_captures(asked: list[tuple[str, str, int, float]]) -> None:
    main([*ASKED, "--seeds", "0"])
    assert asked == [("glass", "ngp/lego", 0, 1e-3), ("dark_photo", "ngp/capture", 0, 1e-3)]
    main([*ASKED, "--seeds", "0", "--costs", "1e-3", "4e-4"])
    assert asked[2:] == [("glass", "ngp/lego", 0, 4e-4), ("dark_photo", "ngp/capture", 0, 4e-4)]


def test_a_field_is_handed_on_and_its_files_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    case, field, costs = Case("glass", "ngp/lego", 3, 6, 8), tiny_teacher(), []

    def trained(case: Case, arguments: list[str], callbacks: Sequence[RateStage] = ()) -> SceneArtifact:
        if not callbacks:
            return field
        (start,) = (text.split("=")[1] for text in arguments if "init_from" in text)
        assert "--seed_everything=3" in arguments and "--data.init_args.seed=3" in arguments
        costs.append(callbacks[0].rd_lambda)
        later = read_scene_artifact(start)
        return later.replace(qp=dict.fromkeys(coded_tensors(later.field), 0))

    monkeypatch.setattr(provoke_rate, "trained_by", trained)
    monkeypatch.setattr(provoke_rate, "psnr_of", lambda trained, case: 30.0 if trained is field else 29.0)
    runs = list(provoke_rate.measure(case, [1e-2, 2e-2]))
    assert costs == [1e-2, 2e-2] and [run.cost for run in runs] == costs
    assert all(run[:2] == ("glass", 3) and (run.field_psnr, run.rate_psnr) == (30.0, 29.0) for run in runs)
    assert all(0 < run.rate_bytes < run.plain_bytes for run in runs)
