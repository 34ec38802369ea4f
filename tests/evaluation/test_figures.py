from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from nerfcomp.evaluation.figures import Column, busiest_crop, new_pyplot, psnr_of, save_figure, write_views
from nerfcomp.evaluation.sweep import SweepPoint, plot_sweep
from nerfcomp.rendering.metrics import psnr


def scene() -> NDArray[np.float64]:
    truth = np.full((40, 60, 3), 0.5)
    truth[8:20:2, 30:48] = 1.0
    return truth


@pytest.mark.slow
def test_the_figure_says_what_it_shows_and_lies_beside_a_pdf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.axes import Axes

    truth = scene()
    worse = np.clip(truth + 0.1, 0, 1)
    titles: list[str] = []
    original: Any = Axes.set_title

    def note(self: object, label: str, **more: object) -> object:
        titles.append(label)
        return original(self, label, **more)

    with monkeypatch.context() as patched:
        patched.setattr(Axes, "set_title", note)
        write_views(tmp_path / "views.png", truth, [Column("field", truth), Column("decoded", worse)])
    assert titles == [
        "truth",
        "field\ninf dB",
        "difference x 10",
        f"decoded\n{psnr_of(worse, truth):.2f} dB",
        titles[2],
    ]
    picture = np.asarray(Image.open(tmp_path / "views.png").convert("RGB")).astype(int)
    assert ((picture[..., 0] > 200) & (picture[..., 1] < 60)).sum() > 100  # the frame of the crop
    assert (tmp_path / "views.pdf").read_bytes()[:5] == b"%PDF-"


def test_psnr_is_that_of_all_other_measurements() -> None:
    import torch

    truth, worse = scene(), np.clip(scene() + 0.07, 0, 1)
    assert abs(psnr_of(worse, truth) - float(psnr(torch.tensor(worse), torch.tensor(truth)))) < 1e-6


def test_the_crop_is_where_most_happens() -> None:
    rows, across = busiest_crop(scene())
    assert 4 <= rows.start <= 10 and 26 <= across.start <= 34


@pytest.mark.slow
def test_every_curve_is_a_pdf_too(tmp_path: Path) -> None:
    points = [SweepPoint("fp32", 4000, 1.0, 30.0, 0.9, 2), SweepPoint("-20", 900, 4.4, 29.5, 0.9, 2)]
    plot_sweep(points, tmp_path / "sweep.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sweep.pdf", "sweep.png"]
    text = (tmp_path / "sweep.pdf").read_bytes()
    assert text[:5] == b"%PDF-" and b"/Type3" not in text  # letters stay letters


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
@pytest.mark.parametrize("suffix", [".png", ".pdf"])
def test_a_full_disk_is_said_as_such(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def full(path: Path) -> Iterator[Path]:
        yield Path("/dev/full") if path.suffix == suffix else path

    monkeypatch.setattr("nerfcomp.evaluation.figures.atomic_write", full)
    figure = new_pyplot().figure()
    figure.text(0, 0, "text in a font")
    with pytest.raises(OSError, match="No space left"):
        save_figure(figure, tmp_path / "figure.png")
