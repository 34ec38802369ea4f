"""The notebook runs from its first cell to its last, and shows what it says."""

import json
from pathlib import Path
from typing import Any

import pytest


def cells(notebook: Path) -> list[str]:
    """Python of a notebook's cells."""
    found = json.loads(notebook.read_text())["cells"]
    return ["".join(cell["source"]) for cell in found if cell["cell_type"] == "code"]


@pytest.mark.slow
def test_every_cell_runs(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    found: dict[str, Any] = {}
    for number, lines in enumerate(cells(repository / "docs" / "from_python.ipynb")):
        exec(compile(lines, f"cell {number}", "exec"), found)
    sizes, quality = zip(*found["points"])
    assert list(sizes) == sorted(sizes, reverse=True) and sizes[0] < found["full"]
    assert quality[0] > 14 and max(quality[0] - found["psnr"](found["trained"]), 0) < 0.5
    assert found["view"].rgb.shape == (32 * 32, 3)
