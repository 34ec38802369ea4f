"""Poses of photographs: COLMAP finds those that the pictures were rendered from."""

import json
import logging
import sys
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from nerfcomp.commands.poses import poses, take_frames
from nerfcomp.errors import MissingExtraError, NerfcompError, SceneError
from nerfcomp.exchange import photographs as sfm
from nerfcomp.readers import COLMAPReader, TransformsReader
from tests.exchange.textured_room import photographs

pytest.importorskip("pycolmap", reason="needs the extra 'poses'")


def aligned_error(found: NDArray[Any], truth: NDArray[Any]) -> float:
    """Largest distance between places (V, 3) after the best similarity (Umeyama 1991), of the truth's spread."""
    a, b = found - found.mean(0), truth - truth.mean(0)
    u, s, v = np.linalg.svd(b.T @ a)
    flip = np.diag([1, 1, np.sign(np.linalg.det(u @ v))])
    scale = np.trace(np.diag(s) @ flip) / (a**2).sum()
    return float(np.linalg.norm(scale * a @ (u @ flip @ v).T - b, axis=1).max() / np.linalg.norm(b, axis=1).mean())


@pytest.mark.slow
def test_poses_are_those_the_pictures_were_taken_from(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    truth = photographs(tmp_path / "photos", 8)
    Image.fromarray(np.full((180, 240, 3), 90, np.uint8)).save(tmp_path / "photos" / "wall.png")
    with caplog.at_level(logging.INFO):
        poses(tmp_path / "photos", tmp_path / "out")
    assert "8 of 9 images placed" in caplog.text
    assert "without a pose: wall.png: at most 0 matches" in caplog.text
    content = json.loads((tmp_path / "out" / "transforms.json").read_text())
    assert [frame["file_path"] for frame in content["frames"]] == [f"../photos/{view:03d}.png" for view in range(8)]
    found = np.array([frame["transform_matrix"] for frame in content["frames"]])[:, :3, 3]
    assert aligned_error(found, truth[:, :, 3]) < 0.02
    assert content["frames"][0]["fl_x"] == pytest.approx(220, rel=0.03)
    scene = TransformsReader(tmp_path / "out", test_every=0, val_hold=0).read("train")
    other = COLMAPReader(tmp_path / "out", images="../photos", test_every=0, val_hold=0).read("train")
    torch.testing.assert_close(scene.camera.c2w, other.camera.c2w)
    assert scene.names == other.names == tuple(f"{view:03d}.png" for view in range(8))
    with pytest.raises(NerfcompError, match="holds poses already"):
        poses(tmp_path / "photos", tmp_path / "out")


def test_too_few_photographs_and_blank_ones_are_said(tmp_path: Path) -> None:
    (tmp_path / "two").mkdir()
    for view in range(2):
        Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(tmp_path / "two" / f"{view}.png")
    with pytest.raises(SceneError, match="three at least"):
        poses(tmp_path / "two", tmp_path / "out")
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(tmp_path / "two" / "2.png")
    with pytest.raises(SceneError, match="found no two images"):
        poses(tmp_path / "two", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.slow
def test_frames_of_a_film_are_spread_evenly(tmp_path: Path) -> None:
    levels = np.repeat(np.arange(20, dtype=np.uint8) * 12, 3)
    film = np.broadcast_to(levels.reshape(20, 1, 1, 3), (20, 32, 48, 3))
    iio.imwrite(tmp_path / "a.mp4", film, plugin="pyav", codec="libx264", fps=10)
    folder = take_frames(tmp_path / "a.mp4", tmp_path / "images", 5)
    assert [path.name for path in sorted(folder.iterdir())] == [f"{index:05d}.png" for index in (0, 4, 8, 12, 16)]
    means = [float(iio.imread(path).mean()) for path in sorted(folder.iterdir())]
    assert np.abs(np.array(means) - np.arange(0, 20, 4) * 12).max() < 8
    (tmp_path / "b.mp4").write_bytes(b"no film")
    with pytest.raises(NerfcompError, match="cannot be read as a film"):
        take_frames(tmp_path / "b.mp4", tmp_path / "other", 5)


def test_without_pycolmap_a_sentence_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycolmap", None)
    with pytest.raises(MissingExtraError, match="pip install 'nerfcomp"):
        poses(tmp_path, tmp_path / "out")
    assert sfm.reasons(sfm.Placed(tmp_path, ("a", "b"), (), 0.0, 0, 0, {"a": 3, "b": 40})) == [
        "a: at most 3 matches with another, 15 are needed",
        "b: it fits no placed image",
    ]
