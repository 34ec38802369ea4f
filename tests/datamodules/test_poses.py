import math

import pytest
import torch

from nerfcomp.datamodules.poses import CameraBoxPoses, PosesBetween, PoseSource, SphericalPoses
from nerfcomp.geometry.paths import look_at, spherical_path

KNOWN = torch.cat([spherical_path(6, 4.0, 0.2), spherical_path(6, 5.0, 0.9)])
SOURCES = [SphericalPoses(), CameraBoxPoses(), PosesBetween()]


def draw(source: PoseSource, count: int = 60, known: torch.Tensor = KNOWN) -> torch.Tensor:
    return torch.stack([source.pose(known, 3, index) for index in range(count)])


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: type(source).__name__)
def test_poses_are_rigid_and_repeat(source: PoseSource) -> None:
    poses = draw(source)
    rotations = poses[:, :, :3]
    assert torch.allclose(rotations @ rotations.mT, torch.eye(3).expand_as(rotations), atol=1e-5)
    assert torch.allclose(torch.linalg.det(rotations), torch.ones(60), atol=1e-5)
    assert torch.equal(poses[7], source.pose(KNOWN, 3, 7))
    assert len({tuple(pose.flatten().tolist()) for pose in poses}) == 60
    assert not torch.equal(poses[7], source.pose(KNOWN, 4, 7))


def test_spherical_poses_fill_the_band_of_the_known_ones() -> None:
    shift = torch.tensor([1.0, -2.0, 0.5])
    known = torch.cat([KNOWN[:, :, :3], KNOWN[:, :, 3:] + shift[:, None]], -1)
    poses = draw(SphericalPoses(), 400, known)
    offset = poses[:, :, 3] - shift
    distance = offset.norm(dim=-1)
    assert 4.0 - 1e-3 <= distance.min() < 4.05 and 4.95 < distance.max() <= 5.0 + 1e-3
    sines = offset[:, 2] / distance
    low, high = math.sin(0.2), math.sin(0.9)
    assert low - 1e-4 <= sines.min() and sines.max() <= high + 1e-4
    assert sines.mean() == pytest.approx((low + high) / 2, abs=0.04)  # evenly over the area
    assert torch.allclose(-poses[:, :, 2], -offset / distance[:, None], atol=1e-4)  # looks at the middle
    quarter = (torch.atan2(offset[:, 1], offset[:, 0]) / (math.pi / 2)).floor()
    assert all((quarter == side).sum() > 60 for side in (-2, -1, 0, 1))
    assert (poses[:, 2, 1] > 0).all()  # upright


def test_given_ranges_win_and_one_pose_is_then_enough() -> None:
    source = SphericalPoses(radius=(2.0, 2.0), elevation=(-30.0, -30.0))
    poses = draw(source, 20, KNOWN[:1])
    assert torch.allclose(poses[:, :, 3].norm(dim=-1), torch.full((20,), 2.0))
    assert torch.allclose(poses[:, 2, 3], torch.full((20,), -1.0), atol=1e-6)
    with pytest.raises(ValueError, match="only one is known"):
        draw(SphericalPoses(), 1, KNOWN[:1])


def test_camera_box_holds_centres_and_directions() -> None:
    origins = torch.rand(8, 3) * torch.tensor([2.0, 1.0, 0.2])
    targets = origins + torch.tensor([0.0, 0.0, -1.0]) + 0.1 * torch.rand(8, 3)
    known = look_at(origins, targets, torch.tensor([0.0, 1.0, 0.0]))
    poses = draw(CameraBoxPoses(margin=1.5), 200, known)
    middle, reach = (origins.amax(0) + origins.amin(0)) / 2, (origins.amax(0) - origins.amin(0)) / 2
    relative = (poses[:, :, 3] - middle) / reach
    assert (relative.abs() <= 1.5 + 1e-4).all() and (relative.abs().amax(0) > 1.3).all()
    back = poses[:, :, 2] / poses[:, 2:, 2]
    known_back = known[:, :, 2] / known[:, 2:, 2]
    assert (back.amax(0) <= known_back.amax(0) + 0.1).all() and (back.amin(0) >= known_back.amin(0) - 0.1).all()
    assert torch.equal(draw(CameraBoxPoses(margin=0.0), 1, known)[0], draw(CameraBoxPoses(margin=0.0), 2, known)[1])


def test_poses_between_lie_between() -> None:
    origins = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [100.0, 0.0, 0.0]])
    known = look_at(origins, origins + torch.tensor([0.0, 0.0, -1.0]), torch.tensor([0.0, 1.0, 0.0]))
    x = draw(PosesBetween(neighbours=1), 200, known)[:, 0, 3]
    assert x.min() >= 0 and x.max() <= 100.0
    assert 100 < ((x > 0) & (x < 1)).sum() < 170  # two thirds start at one of the close pair


@pytest.mark.parametrize(
    "build",
    [
        lambda: SphericalPoses(radius=(2.0, 1.0)),
        lambda: SphericalPoses(radius=(0.0, 1.0)),
        lambda: SphericalPoses(elevation=(0.0, 91.0)),
        lambda: CameraBoxPoses(-0.1),
        lambda: PosesBetween(0),
    ],
)
def test_impossible_ranges_are_refused(build: type) -> None:
    with pytest.raises(ValueError, match="give|needs"):
        build()
