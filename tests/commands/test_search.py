import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nerfcomp.commands import search as command
from nerfcomp.commands.search import Search
from nerfcomp.commands.search_results import TrialRow, front_of, importances, write_results
from nerfcomp.commands.search_trial import SPACES, TrialJob, build, default_settings
from nerfcomp.errors import NerfcompError
from nerfcomp.evaluation.report import write_json
from nerfcomp.readers import ProceduralVolume, VolumeHints

pytest.importorskip("ax")


def row(trial: int, ratio: float, psnr: float, width: int = 1) -> TrialRow:
    return TrialRow(trial, "COMPLETED", 100, ratio, psnr, {"width": width, "other": 3})


def test_no_point_of_the_front_is_beaten() -> None:
    draws = np.random.default_rng(0).uniform(size=(60, 2))
    rows = [row(i, float(ratio), float(psnr)) for i, (ratio, psnr) in enumerate(draws)]
    beaten = {i for i, a in enumerate(draws) for b in draws if (b >= a).all() and (b > a).any()}
    assert [r.trial for r in front_of(rows)] == sorted(set(range(60)) - beaten, key=lambda i: draws[i][0])
    assert not front_of([rows[0]._replace(status="FAILED")])


def test_what_matters_is_first() -> None:
    rows = [row(i, 100.0 - i, 30.0 + i, width=i) for i in range(6)]
    assert [tuple(found) for found in importances(rows)] == [("width", -1.0, 1.0), ("other", 0.0, 0.0)]
    assert not importances(rows[:3])


@pytest.mark.parametrize("space", SPACES)
def test_the_default_lies_in_the_space_and_can_be_built(space: Any) -> None:
    settings = default_settings(space, (40, 30, 20))
    assert settings.keys() == SPACES[space].keys()
    assert all(SPACES[space][name].low <= value <= SPACES[space][name].high for name, value in settings.items())
    assert sum(p.numel() for p in build(space, settings, (40, 30, 20)).parameters()) > 100


def test_trials_are_points_and_only_the_front_is_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures: list[Any] = []
    monkeypatch.setattr("nerfcomp.evaluation.volume_plot.save_figure", lambda figure, path: figures.append(figure))
    write_results(tmp_path, [row(0, 100.0, 30.0), row(1, 200.0, 31.0), row(2, 300.0, 25.0)])
    drawn = {line.get_label(): line for line in figures[0].axes[0].lines}
    assert {name: line.get_linestyle() for name, line in drawn.items()} == {
        "all trials": "None",
        "front": "-",
        "default": "None",
    }
    assert list(drawn["default"].get_xdata()) == [100.0] and list(drawn["front"].get_xdata()) == [200.0, 300.0]


class FakeProcess:
    """A trial that has ended as soon as it has begun."""

    def __init__(self, target: Any, args: tuple[TrialJob], daemon: bool) -> None:
        self.job = args[0]

    def start(self) -> None:
        trial = int(self.job.folder.name[-3:])
        if trial == 2:
            return  # killed
        if trial == 4:
            raise KeyboardInterrupt
        ratio = self.job.settings["ratio"]
        figures = {"bytes": 10, "compression_ratio": ratio, "psnr": 50 - 6 * np.log10(ratio), "seconds": 1.0}
        write_json(self.job.folder / "result.json", figures)

    def is_alive(self) -> bool:
        return False

    def terminate(self) -> None:
        pass


@pytest.mark.slow
def test_a_stopped_search_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "a.npy"
    np.save(source, ProceduralVolume((16, 16, 16), "uint8").read().values)
    monkeypatch.setattr(command, "_POLL", 0.0)
    monkeypatch.setattr(FakeProcess, "Process", FakeProcess, raising=False)
    monkeypatch.setattr("multiprocessing.get_context", lambda _: FakeProcess)
    job = TrialJob(tmp_path / "s", source, VolumeHints(), "hash_grid", {}, 10, 0, 1)

    def search(resume: bool) -> Search:
        return Search(job, trials=7, parallel=1, min_ratio=100.0, min_psnr=30.0, resume=resume)

    with pytest.raises(NerfcompError, match="no search to resume"):
        search(True)
    with pytest.raises(KeyboardInterrupt):
        search(False).run()
    with pytest.raises(NerfcompError, match="exists already"):
        search(False)
    before = {r.trial: r.settings for r in search(True).rows()}
    start = FakeProcess.start
    monkeypatch.setattr(
        FakeProcess,
        "start",
        lambda self: (
            start(self)
            if not self.job.folder.name.endswith("4")
            else write_json(
                self.job.folder / "result.json", {"bytes": 10, "compression_ratio": 300.0, "psnr": 33.0, "seconds": 1.0}
            )
        ),
    )
    again = search(True)
    again.run()
    rows = again.rows()
    assert [r.trial for r in rows] == list(range(7)) and [r.status for r in rows].count("FAILED") == 1
    assert rows[2].status == "FAILED" and rows[4].psnr == 33.0
    assert all(r.settings == before[r.trial] for r in rows if r.trial in before)
    with open(tmp_path / "s" / "pareto.csv", newline="") as file:
        front = list(csv.DictReader(file))
    assert front and all(float(r["compression_ratio"]) >= 100 for r in front)
    assert (tmp_path / "s" / "pareto.png").stat().st_size > 5000
