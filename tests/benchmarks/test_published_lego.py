"""Our files beside published points."""

from pathlib import Path

import imageio.v3 as iio
import pytest

from benchmarks.published_lego import File, draw, read_file
from nerfcomp.evaluation.published import write_published
from nerfcomp.evaluation.report import ViewResult


@pytest.mark.slow
def test_an_evaluation_becomes_a_point(tmp_path: Path) -> None:
    write_published(
        tmp_path, "a.nfc", "lego", [ViewResult("a", 30.0, 0.5, 1.0), ViewResult("b", 32.0, 0.7, 1.0)], 400_000
    )
    assert read_file(tmp_path) == File("a.nfc", 0.4, 31.0)
    draw([File("a.nfc", 0.4, 31.0), File("b.nfc", 0.8, 32.0)], tmp_path / "x.png")
    assert iio.imread(tmp_path / "x.png").std() > 1
