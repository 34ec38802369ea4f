import base64
import csv
import json
from pathlib import Path

import numpy as np
import pytest

from nerfcomp.evaluation.published import write_published
from nerfcomp.evaluation.report import ViewResult

VIEWS = [ViewResult("a", 31.25, 0.9, 1.0), ViewResult("b", 29.0, 0.81, 1.0), ViewResult("c", 33.1, 0.95, 1.0)]


def test_benchmarks_read_the_figures_of_every_view(tmp_path: Path) -> None:
    write_published(tmp_path, "lego.nfc", "lego", VIEWS, 248_000)
    found = json.loads((tmp_path / "nerfbaselines.json").read_text())
    raw = {name: np.frombuffer(base64.b64decode(text), "<f4") for name, text in found["metrics_raw"].items()}
    assert raw["psnr"].tolist() == pytest.approx([view.psnr for view in VIEWS])
    assert raw["ssim"].tolist() == pytest.approx([view.ssim for view in VIEWS])
    assert found["metrics"]["psnr"] == pytest.approx(raw["psnr"].mean(), abs=1e-4)
    assert found["nb_info"] == {"method": "nerfcomp", "dataset": "lego", "size_bytes": 248_000}
    with open(tmp_path / "3dgs_zip.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["Submethod"] == "lego.nfc" and row["Size [Bytes]"] == "248000" and row["LPIPS"] == ""
    assert float(row["PSNR"]) == pytest.approx(np.mean([view.psnr for view in VIEWS]))
