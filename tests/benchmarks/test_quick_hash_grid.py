"""The hash-grid benchmark runs and says how much faster numba is."""

import json
from pathlib import Path

import pytest

from benchmarks import quick_hash_grid
from benchmarks.common import measure


def test_small_run_writes_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    quick_hash_grid.main(points=64, levels=2, log2_table_size=8, touched=0.5, repeats=2)
    report = json.loads((tmp_path / "runs/benchmarks/hash_grid.json").read_text())
    rows = {row["what"]: row for row in report["results"]}
    assert rows["torch backward"]["times"] == 1.0
    assert rows["numba backward"]["times"] == pytest.approx(
        rows["torch backward"]["median_ms"] / rows["numba backward"]["median_ms"]
    )
    assert report["settings"]["points"] == 64
    assert report["machine"]["cores"] >= 1


def test_cases_take_turns() -> None:
    calls: list[str] = []
    timings = measure({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, repeats=2, warm_up=1)
    assert calls == ["a", "b"] * 3
    assert list(timings) == ["a", "b"]
    assert all(0 <= timing.fastest <= timing.median for timing in timings.values())
