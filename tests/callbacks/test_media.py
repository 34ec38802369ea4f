import os
from collections.abc import Iterator
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import torch

from nerfcomp.callbacks.media import (
    Picture,
    color_map,
    depth_picture,
    depth_range,
    mean_depth,
    to_map,
    to_picture,
    write_mp4,
)


def test_pictures_are_rounded_and_clamped_row_by_row() -> None:
    rgb = torch.tensor([[0.0, 0.5, 1.0], [-1.0, 2.0, 0.1], [0.25, 0.0, 0.0], [0.0, 0.0, 0.75]])
    picture = to_picture(rgb, 2, 2)
    assert picture.tolist() == [[[0, 128, 255], [0, 255, 26]], [[64, 0, 0], [0, 0, 191]]]


def test_color_map_runs_from_dark_to_bright_and_clamps() -> None:
    values = np.array([[-1.0, 0.0, 0.5, 1.0, 7.0, np.nan]])
    colors = color_map(values)[0].astype(int)
    assert colors[0].tolist() == colors[1].tolist() == colors[5].tolist() == [68, 1, 84]
    assert colors[3].tolist() == colors[4].tolist() == [253, 231, 37]
    brightness = colors.sum(-1)
    assert brightness[1] < brightness[2] < brightness[3]


def test_half_transparent_surface_keeps_its_distance() -> None:
    # sum w t of a surface at 4 that lets half of the light through is 2
    assert mean_depth(np.array([[2.0]]), np.array([[0.5]])) == pytest.approx(4.0)


def test_depth_range_ignores_pixels_that_see_nothing() -> None:
    depth, opacity = np.array([[3.0, 5.0, 99.0]]), np.array([[1.0, 1.0, 0.01]])
    assert depth_range(depth, opacity) == pytest.approx((3.02, 4.98))
    assert depth_range(depth, np.zeros((1, 3))) is None


def test_depth_picture_is_bright_in_front_and_white_where_nothing_is() -> None:
    depth, opacity = to_map(torch.tensor([2.0, 4.0, 0.0]), 1, 3), to_map(torch.tensor([1.0, 1.0, 0.0]), 1, 3)
    picture = depth_picture(depth, opacity, (2.0, 4.0))
    assert picture.tolist() == [[[253, 231, 37], [68, 1, 84], [255, 255, 255]]]
    assert depth_picture(depth, np.zeros((1, 3)), None).min() == 255


@pytest.mark.slow
@pytest.mark.parametrize("size", [(16, 32), (15, 33)])
def test_film_has_its_frames_at_even_size(tmp_path: Path, size: tuple[int, int]) -> None:
    frames = [np.full((*size, 3), level, np.uint8) for level in (0, 100, 200, 255)]
    write_mp4(tmp_path / "films" / "film.mp4", frames, fps=10)
    film = iio.imread(tmp_path / "films" / "film.mp4", plugin="pyav")
    assert film.shape == (4, size[0] // 2 * 2, size[1] // 2 * 2, 3)
    assert np.abs(film.mean((1, 2, 3)) - [0, 100, 200, 255]).max() < 4
    assert iio.immeta(tmp_path / "films" / "film.mp4", plugin="pyav")["fps"] == 10


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux can take processors away")
def test_the_same_pictures_make_the_same_bytes_on_any_number_of_processors(tmp_path: Path) -> None:
    ramp = np.add.outer(np.arange(120), np.arange(160))[..., None] * [1, 2, 3]
    frames = [((ramp + 4 * step) % 256).astype(np.uint8) for step in range(12)]
    before, films = os.sched_getaffinity(0), []
    for number in range(8):
        _ = [np.full(20_000 * (number + 1), 30 * number, np.uint8) for _ in range(8)]  # what freed memory holds
        try:
            os.sched_setaffinity(0, before if number % 2 else {min(before)})
            write_mp4(tmp_path / "film.mp4", frames, fps=10)
        finally:
            os.sched_setaffinity(0, before)
        films.append((tmp_path / "film.mp4").read_bytes())
    assert len(set(films)) == 1


def test_film_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def frames() -> Iterator[Picture]:
        yield np.zeros((16, 16, 3), np.uint8)
        raise OSError("no more frames")

    with pytest.raises(OSError, match="no more frames"):
        write_mp4(tmp_path / "film.mp4", frames(), fps=10)
    assert list(tmp_path.iterdir()) == []
