"""``compress.py render``: films and stills of a file, without its scene."""

import errno
import json
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest

from nerfcomp.artifacts.kinds import of_scene
from nerfcomp.artifacts.nfc import encode_artifact, uniform_allocation, write_nfc
from nerfcomp.artifacts.reading import read_artifact
from nerfcomp.commands import render
from nerfcomp.commands.program import main
from nerfcomp.errors import NerfcompError
from nerfcomp.geometry.cameras import select_views
from tests.artifacts.test_volume import trained as trained_volume
from tests.teacher import write_teacher


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_teacher(tmp_path_factory.mktemp("teacher"))


def test_stills_are_what_the_model_draws(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    main(["render", str(file), "--out", str(out), "--views", "[1]", "--depth", "true", "--opacity", "true"])
    trained = of_scene(read_artifact(file), "test")
    with trained.evaluating():
        view = trained.draw(select_views(trained.scene.camera, [1]))
    height, width = trained.scene.height, trained.scene.width
    rgb, depth, opacity = (iio.imread(out / f"0000{kind}.png") for kind in ("", "_depth", "_opacity"))
    assert np.abs(rgb.astype(int) - (255 * view.rgb.reshape(height, width, 3).numpy()).round()).max() <= 1
    assert depth.dtype == opacity.dtype == np.uint16
    seen = view.opacity.reshape(height, width).numpy()
    assert np.abs(opacity / 65535 - seen).max() < 1e-3  # frames are kept as float16
    distance = depth * json.loads((out / "depth.json").read_text())["units_per_step"]
    wanted = (view.depth / view.opacity.clamp_min(1e-3)).reshape(height, width).numpy()
    assert (depth > 0).any() and not depth[seen < 0.49].any()
    assert np.abs(distance - wanted)[seen > 0.51].max() < 0.01
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]  # frames are gone


def test_volumes_are_drawn_as_clouds(tmp_path: Path) -> None:
    volume = trained_volume()
    write_nfc(encode_artifact(volume, uniform_allocation(volume, -24)), tmp_path / "volume.nfc")
    main(["render", str(tmp_path / "volume.nfc"), "--out", str(tmp_path / "out"), "--views=[0,5]", "--size=[24,16]"])
    drawn = [iio.imread(tmp_path / "out" / f"000{view}.png") for view in (0, 1)]
    assert all(picture.shape == (16, 24, 3) for picture in drawn)
    assert drawn[0][8, 12].min() < 255 and drawn[0][0, 0].min() == 255
    assert (drawn[0] != drawn[1]).any()


def test_a_written_path_draws_the_same_again(file: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    main(["render", str(file), "--out", str(first), "--path", "spiral", "--n_frames", "2", "--size", "[12,8]"])
    main(["render", str(file), "--out", str(second), "--path", str(first / "path.json")])
    for name in ("0000.png", "0001.png"):
        pictures = [iio.imread(folder / name).astype(int) for folder in (first, second)]
        assert pictures[0].shape == (8, 12, 3)
        assert np.abs(pictures[0] - pictures[1]).max() <= 2


def test_stills_that_a_full_disk_stopped_go_on(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["render", str(file), "--out", str(tmp_path / "out"), "--n_frames", "3", "--size", "[12,8]"]
    written: list[Path] = []

    def save(path: Path, picture: Any) -> None:
        if len(written) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(path)
        original(path, picture)

    original = render.save
    with monkeypatch.context() as patch, pytest.raises(OSError):
        patch.setattr(render, "save", save)
        main(words)
    with pytest.raises(NerfcompError, match="something else"):
        main([*words, "--path", "spiral"])
    main(words)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [f"000{i}.png" for i in range(3)] + [
        "path.json"
    ]
    with pytest.raises(NerfcompError, match="holds pictures"):
        main(words)


@pytest.mark.slow
def test_films_have_the_frames_asked_for(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "film.mp4"
    main(["render", str(file), "--out", str(out), "--n_frames", "3", "--depth", "true", "--opacity", "true"])
    for name in ("film.mp4", "film_depth.mp4", "film_opacity.mp4"):
        assert iio.imread(tmp_path / name, plugin="pyav").shape[0] == 3
    with pytest.raises(NerfcompError, match="exists already"):
        main(["render", str(file), "--out", str(out), "--n_frames", "3"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--path", "zigzag"], "choose turntable, spiral, along, auto"),
        (["--path", "missing.json"], "There is no file missing.json"),
        (["--views", "[0,99]"], "counted from 0"),
        (["--views", "[]"], "counted from 0"),
        (["--n_frames", "0"], "at least one frame"),
        (["--size", "[0,4]"], "at least one pixel"),
        (["--background", "[0,0,2]"], "from 0 to 1"),
    ],
)
def test_what_cannot_be_drawn_is_refused(file: Path, tmp_path: Path, options: list[str], message: str) -> None:
    with pytest.raises((NerfcompError, ValueError), match=message):
        main(["render", str(file), "--out", str(tmp_path / "out"), *options])
    assert not any(tmp_path.iterdir())
