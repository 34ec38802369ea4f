"""Poses: what is accepted, and the frame that captures are put into."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nerfcomp.errors import SceneError
from nerfcomp.geometry.paths import look_at, spherical_path
from nerfcomp.readers.alignment import align_upright, average_pose, check_pose, focus_point, relative_to


def rotation(seed: int) -> Tensor:
    square = torch.randn(3, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    orthogonal = torch.linalg.qr(square)[0]
    turn: Tensor = orthogonal * torch.linalg.det(orthogonal)
    return turn


def moved(c2w: Tensor, turn: Tensor, shift: Tensor, scale: float) -> Tensor:
    """The same capture in another world frame."""
    return torch.cat([turn @ c2w[:, :, :3], turn @ (c2w[:, :, 3:] * scale) + shift[:, None]], -1)


def capture(views: int = 12) -> Tensor:
    """Cameras around (1, 2, 3) at different distances and heights, none looking exactly there."""
    poses = spherical_path(views, 2.0, (0.1, 0.8), target=(1.0, 2.0, 3.0), turns=2).double()
    poses[:, :, 3] += 0.05 * torch.randn(views, 3, dtype=torch.float64)
    return poses


def test_check_pose_returns_the_pose_without_rounding() -> None:
    pose = torch.cat([rotation(0), torch.ones(3, 1)], -1).double()
    torch.testing.assert_close(check_pose(pose, "p"), pose)
    rounded = check_pose((pose * 1e4).round() / 1e4, "p")[:, :3]
    torch.testing.assert_close(rounded.T @ rounded, torch.eye(3).double(), atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda pose: pose[:2], "shape"),
        (lambda pose: pose * math.nan, "NaN"),
        (lambda pose: pose * math.inf, "NaN or infinity"),
        (lambda pose: pose * 1.01, "not rigid"),
        (lambda pose: pose * 0, "not rigid"),
        (lambda pose: pose + torch.eye(4, dtype=torch.float64).roll(1, 1) * 0.01, "not rigid"),
        (lambda pose: pose * torch.tensor([1, 1, -1, 1]), "mirrored"),
        (lambda pose: pose + torch.eye(4, dtype=torch.float64)[3, :, None] * 0.1, "last row"),
    ],
)
def test_check_pose_refuses(change: Callable[[Tensor], Tensor], message: str) -> None:
    with pytest.raises(SceneError, match=f"file.json, frame 3.*{message}"):
        check_pose(change(torch.eye(4, dtype=torch.float64)), "file.json, frame 3")


def test_average_pose_of_a_symmetric_pair_is_between_them() -> None:
    up = torch.tensor([0.0, 1.0, 0.0])
    left, right = (look_at(torch.tensor([x, 0.0, 0.0]), torch.tensor([0.0, 0.0, -2.0]), up) for x in (-1.0, 1.0))
    torch.testing.assert_close(average_pose(torch.stack([left, right])), torch.eye(3, 4))


def test_relative_to_makes_the_pose_the_identity() -> None:
    poses = capture()
    local = relative_to(poses, poses[4])
    torch.testing.assert_close(local[4], torch.eye(3, 4).double())
    torch.testing.assert_close((local[0, :, 3] - local[7, :, 3]).norm(), (poses[0, :, 3] - poses[7, :, 3]).norm())


def test_focus_point_is_where_the_axes_meet() -> None:
    poses = spherical_path(7, 2.0, 0.5, target=(1.0, 2.0, 3.0)).double()
    found = focus_point(poses)
    assert found is not None
    torch.testing.assert_close(found, torch.tensor([1.0, 2.0, 3.0]).double(), atol=1e-5, rtol=0)


def test_parallel_and_outward_cameras_have_no_focus() -> None:
    poses = spherical_path(7, 2.0, 0.5).double()
    outward = torch.cat([poses[:, :, :3] * torch.tensor([-1, 1, -1]), poses[:, :, 3:]], -1)
    assert focus_point(outward) is None
    parallel = torch.eye(3, 4).double().repeat(5, 1, 1)
    parallel[:, :, 3] = torch.randn(5, 3)
    assert focus_point(parallel) is None


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.01, 100), st.tuples(*[st.floats(-20, 20)] * 3))
def test_alignment_does_not_depend_on_the_world_frame(seed: int, scale: float, shift: tuple[float, ...]) -> None:
    torch.manual_seed(0)
    poses = capture()
    here = align_upright(poses, "scene")
    there = align_upright(moved(poses, rotation(seed), torch.tensor(shift).double(), scale), "scene")
    distances = torch.cdist(here.c2w[:, :, 3], here.c2w[:, :, 3])
    torch.testing.assert_close(torch.cdist(there.c2w[:, :, 3], there.c2w[:, :, 3]), distances, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(there.c2w[:, 2], here.c2w[:, 2], atol=1e-6, rtol=1e-6)  # heights and tilts
    assert there.scale == pytest.approx(here.scale / scale)


def test_aligned_capture_is_upright_centred_and_scaled() -> None:
    aligned = align_upright(moved(capture(), rotation(3), torch.tensor([5.0, 6.0, 7.0]), 3.0), "scene")
    assert aligned.inward
    assert float(aligned.c2w[:, :, 3].norm(dim=-1).median()) == pytest.approx(4.0)
    up = aligned.c2w[:, :, 1].mean(0)
    assert float(up[2] / up.norm()) == pytest.approx(1.0)
    assert (aligned.c2w[:, 2, 3] > 0).all()  # the cameras stood above what they look at
    rotations = aligned.c2w[:, :, :3]
    torch.testing.assert_close(rotations.mT @ rotations, torch.eye(3).double().expand(12, 3, 3))
    torch.testing.assert_close(torch.linalg.det(rotations), torch.ones(12).double())


def test_capture_without_focus_stands_inside_the_finest_cube() -> None:
    poses = torch.eye(3, 4).double().repeat(5, 1, 1)
    poses[:, 0, 3] = torch.arange(5)
    aligned = align_upright(poses, "scene")
    assert not aligned.inward
    assert float(aligned.c2w[:, :, 3].norm(dim=-1).max()) == pytest.approx(1.5)
    torch.testing.assert_close(aligned.c2w[:, 2, 1], torch.ones(5).double())


def test_cameras_at_one_point_are_refused() -> None:
    with pytest.raises(SceneError, match="scene: all cameras stand at one point"):
        align_upright(torch.eye(3, 4).double().repeat(5, 1, 1), "scene")
