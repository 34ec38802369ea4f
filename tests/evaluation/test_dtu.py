"""DTU's protocol on balls of known size, against a loop that follows its published steps."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import savemat

from nerfcomp.errors import NerfcompError
from nerfcomp.evaluation.dtu import Observation, dtu_quality, read_observation, thinned_points
from nerfcomp.geometry.meshes import Mesh, sampled
from nerfcomp.rendering.level_set import LevelSet, extract_mesh


def ball(radius: float) -> Mesh:
    box = torch.tensor([[-12.0] * 3, [12.0] * 3])
    return extract_mesh(LevelSet(lambda x: radius - torch.linalg.vector_norm(x, dim=1), 0.0), box, 64)


def everything() -> Observation:
    mask = np.ones((26, 26, 26), bool)
    return Observation(mask, np.full(3, -12.5), np.full(3, 12.5), 1.0, np.array([0.0, 0.0, 0.0, 1.0]))


@pytest.mark.slow
def test_a_larger_ball_is_off_by_the_difference() -> None:
    scan = sampled(ball(8.0), 20_000)[0]
    found = dtu_quality(ball(9.0), scan, everything(), density=0.5)
    assert found.accuracy == pytest.approx(1.0, abs=0.03) and found.completeness == pytest.approx(1.0, abs=0.05)
    assert found.chamfer == (found.accuracy + found.completeness) / 2


@pytest.mark.slow
def test_only_what_is_observed_and_above_the_table_counts() -> None:
    scan = sampled(ball(8.0), 20_000)[0]
    upper = scan[scan[:, 2] > 0]
    mask = np.zeros((26, 26, 26), bool)
    mask[:, :, 14:] = True
    seen = everything()._replace(mask=mask, plane=np.array([0.0, 0.0, 1.0, 0.0]))
    whole, half = dtu_quality(ball(8.0), upper, everything(), 0.5), dtu_quality(ball(8.0), upper, seen, 0.5)
    assert whole.accuracy > 1.0 and half.accuracy < 0.1 and half.completeness < 0.3


@pytest.mark.slow
def test_holes_are_cut_off() -> None:
    scan = np.concatenate([sampled(ball(8.0), 20_000)[0], np.full((500, 3), 40.0)])
    assert dtu_quality(ball(8.0), scan, everything(), 0.5).completeness < 0.3
    with pytest.raises(NerfcompError, match="in millimetres"):
        dtu_quality(ball(8.0)._replace(vertices=ball(8.0).vertices + 500), scan, everything(), 0.5)


def test_thinned_points_cover_and_keep_apart() -> None:
    points = np.random.default_rng(0).random((2000, 3))
    kept = thinned_points(points, 0.1)
    apart = np.linalg.norm(kept[:, None] - kept[None], axis=2) + 9 * np.eye(len(kept))
    cover = np.linalg.norm(points[:, None] - kept[None], axis=2).min(1)
    assert apart.min() > 0.1 and cover.max() <= 0.1


def test_the_files_of_dtu(tmp_path: Path) -> None:
    mask = np.random.default_rng(0).random((4, 5, 6)) > 0.5
    savemat(
        tmp_path / "ObsMask1_10.mat", {"ObsMask": mask.astype(np.uint8), "BB": [[0, 1, 2], [3, 4, 5.5]], "Res": 2.0}
    )
    savemat(tmp_path / "Plane1.mat", {"P": np.array([[1.0], [2.0], [3.0], [4.0]])})
    found = read_observation(tmp_path / "ObsMask1_10.mat", tmp_path / "Plane1.mat")
    assert (found.mask == mask).all() and found.cell == 2.0 and found.high.tolist() == [3, 4, 5.5]
    assert found.plane.tolist() == [1, 2, 3, 4]
    with pytest.raises(NerfcompError, match="has no P"):
        read_observation(tmp_path / "ObsMask1_10.mat", tmp_path / "ObsMask1_10.mat")
    with pytest.raises(NerfcompError, match="can be read"):
        read_observation(tmp_path / "none.mat", tmp_path / "Plane1.mat")
