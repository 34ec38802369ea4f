"""Two runs on one page."""

import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from torch.utils.tensorboard import SummaryWriter

from nerfcomp.commands.program import main
from nerfcomp.commands.run_record import read_run
from nerfcomp.errors import NerfcompError


def write_run(folder: Path, rate: float, last: float, extra: bool = False) -> Path:
    with SummaryWriter(str(folder)) as board:
        for step in range(3):
            board.add_scalar("val/psnr", last - 2 + step, 10 * step)
        board.add_image("views/a.png", np.full((4, 4, 3), 200, np.uint8), 20, dataformats="HWC")
        if extra:
            board.add_scalar("train/<mask>", 1.0, 0)
    settings = {"model": {"lr": rate, "field": ["x", {"levels": 4}]}, "seed": 3}
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    (folder / "results.json").write_text('{"views": 2, "psnr": 31.5, "name": "text"}')
    return folder


@pytest.mark.slow
def test_what_differs_stands_on_the_page(tmp_path: Path) -> None:
    first, second = write_run(tmp_path / "a", 0.01, 30.0), write_run(tmp_path / "b", 0.02, 31.25, True)
    out = tmp_path / "page.html"
    main(["compare", str(first), str(second), "--out", str(out)])
    page = out.read_text()
    settings = page[page.index("Settings that differ") : page.index("Final figures")]
    assert "<td>model.lr</td><td>0.01</td><td>0.02</td>" in settings and "seed" not in settings
    assert "<td>val/psnr</td><td>30</td><td>31.25</td><td>+1.25</td>" in page
    assert "<td>train/&lt;mask&gt;</td><td>-</td><td>1</td><td></td>" in page and "<mask>" not in page
    assert "<td>results.json: psnr</td><td>31.5</td><td>31.5</td><td>+0</td>" in page
    assert len(re.findall("data:image/png;base64,", page)) == 3 and "http" not in page
    with pytest.raises(NerfcompError, match="page.html"):
        main(["compare", str(first), str(second), "--out", str(out)])


def test_curves_and_pictures_are_those_of_the_run(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path / "a", 0.01, 30.0))
    assert run.curves["val/psnr"].tolist() == [[0, 28], [10, 29], [20, 30]]
    assert run.pictures["views/a.png"][1:4] == b"PNG" and run.settings["model.field.1.levels"] == 4


def test_other_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").touch()
    with pytest.raises(NerfcompError, match="no TensorBoard files"):
        read_run(tmp_path)
