import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest
from lightning import Trainer

from nerfcomp.callbacks import MovieRender, VideoRender
from nerfcomp.callbacks import video as video_file
from nerfcomp.callbacks.shards import FrameStore
from tests.tiny import TinyModule, tiny_data

pytestmark = pytest.mark.slow

MakeTrainer = Callable[..., Trainer]


def films(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "videos").iterdir()) if (root / "videos").exists() else []


def test_films_at_steps_and_at_the_end_once_each(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    video = VideoRender(every_n_steps=2, n_frames=3, scale=2.0)
    module = TinyModule()
    make_trainer(max_steps=5, callbacks=[video], accumulate_grad_batches=2, limit_val_batches=0).fit(
        module, datamodule=tiny_data()
    )
    assert films(tmp_path) == [f"step000000{step}_{kind}.mp4" for step in (2, 4, 5) for kind in ("depth", "rgb")]
    assert module.rendered_views == 9
    assert module.training
    rgb, depth = (
        iio.imread(tmp_path / "videos" / f"step0000005_{kind}.mp4", plugin="pyav") for kind in ("rgb", "depth")
    )
    assert rgb.shape == depth.shape == (3, 16, 16, 3)
    assert rgb[0, 0, 0].min() > 235 and depth[0, 0, 0].min() > 235  # nothing but white in the corner
    center = depth[0, 8, 8].astype(int)
    assert np.abs(center - [253, 231, 37]).max() < 60  # the nearest point of the ball


def test_a_film_that_exists_is_not_rendered_again(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "step0000002_rgb.mp4").write_bytes(b"film")
    module = TinyModule()
    make_trainer(max_steps=2, callbacks=[VideoRender(n_frames=3)], limit_val_batches=0).fit(
        module, datamodule=tiny_data()
    )
    assert module.rendered_views == 0


def test_frames_of_other_weights_are_not_reused_but_removed(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    old = tmp_path / "videos" / ".step0000002-0123456789abcdef"
    old.mkdir(parents=True)
    (old / "00000.npz").write_bytes(b"frame")
    (tmp_path / "videos" / ".step0000002_rgb-abc.mp4").write_bytes(b"half a film")
    module = TinyModule()
    video = VideoRender(n_frames=3, depth=False)
    make_trainer(max_steps=2, callbacks=[video], limit_val_batches=0).fit(module, datamodule=tiny_data())
    assert module.rendered_views == 3
    assert films(tmp_path) == ["step0000002_rgb.mp4"]


def test_full_disk_costs_the_film_only(
    make_trainer: MakeTrainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(video_file, "write_mp4", refuse)
    monkeypatch.setattr(FrameStore, "save", refuse)
    trainer = make_trainer(max_steps=3, callbacks=[VideoRender(every_n_steps=1, n_frames=2)], limit_val_batches=0)
    trainer.fit(TinyModule(), datamodule=tiny_data())
    assert trainer.global_step == 3
    assert "was not written" in caplog.text and "No space left" in caplog.text


def test_nothing_happens_without_a_renderer_a_scene_or_in_a_dry_run(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    data = tiny_data()
    data.setup("fit")
    make_trainer(max_steps=1, callbacks=[VideoRender(n_frames=2)]).fit(TinyModule(), data.train_dataloader())
    make_trainer(fast_dev_run=True, callbacks=[VideoRender(n_frames=2)]).fit(TinyModule(), datamodule=data)
    assert films(tmp_path) == []


@pytest.mark.parametrize("options", [{"every_n_steps": 0}, {"n_frames": 0}, {"fps": 0}, {"scale": 0.0}])
def test_senseless_numbers_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="VideoRender needs"):
        VideoRender(**options)


def test_movies_have_the_names_of_nerf_pytorch(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    movie = MovieRender(n_frames=2, scale=2.0)
    make_trainer(max_steps=3, callbacks=[movie], limit_val_batches=0).fit(TinyModule(), datamodule=tiny_data())
    assert sorted(path.name for path in (tmp_path / "movies").iterdir()) == ["step3_disp.mp4", "step3_rgb.mp4"]
    grey = iio.imread(tmp_path / "movies" / "step3_disp.mp4", plugin="pyav")[0]
    assert grey[0, 0].max() < 20 < 200 < grey[8, 8].min()  # nothing in the corner, the nearest in the middle
