import math

import pytest
import torch

from nerfcomp.geometry.cameras import make_camera
from nerfcomp.geometry.paths import look_at, spherical_path
from nerfcomp.readers.video_paths import along, film_poses, follow, orbit, suited, surrounds


def test_orbit_imitates_distance_and_elevation() -> None:
    views = spherical_path(9, 3.0, (0.2, 0.6), target=(1.0, 1.0, 0.0))
    center = torch.tensor([1.0, 1.0, 0.0])
    turntable = orbit(views, center, "turntable", 6)[:, :, 3] - center
    assert turntable.norm(dim=-1).tolist() == pytest.approx([3.0] * 6, abs=1e-5)
    assert torch.asin(turntable[:, 2] / 3).tolist() == pytest.approx([0.4] * 6, abs=1e-5)
    spiral = orbit(views, center, "spiral", 6)[:, :, 3] - center
    assert torch.asin(spiral[:, 2] / 3)[[0, -1]].tolist() == pytest.approx([0.24, 0.56], abs=1e-5)


def test_path_has_no_lens_distortion() -> None:
    camera = make_camera(torch.eye(3, 4).repeat(2, 1, 1), 6, 8, (10.0, 11.0), (3.0, 4.0), (0.1, 0.0, 0.0, 0.0))
    poses = look_at(torch.randn(5, 3), torch.zeros(3), torch.eye(3)[2])
    moved = along(camera, poses)
    assert torch.equal(moved.c2w, poses)
    assert not moved.distortion.any()
    assert moved.intrinsics.tolist() == [[10.0, 11.0, 3.0, 4.0]] * 5
    assert (moved.height, moved.width) == (6, 8)


def test_only_what_views_surround_is_circled() -> None:
    around = spherical_path(12, 3.0, 0.4)
    half = spherical_path(24, 3.0, 0.4)[:12]
    assert surrounds(around) and not surrounds(half)
    assert suited(around) == "turntable"
    outside = look_at(half[:, :, 3], 2 * half[:, :, 3], torch.tensor([0.0, 0.0, 1.0]))  # out of a room
    assert suited(outside) == "along"
    ahead = torch.eye(3, 4).repeat(9, 1, 1)
    ahead[:, 0, 3] = torch.linspace(-0.5, 0.5, 9)
    assert suited(ahead) == "spiral"
    assert torch.equal(film_poses(half, torch.zeros(3), "auto", 7), follow(half, 7))


def test_following_stays_near_the_views_and_looks_where_they_look() -> None:
    views = spherical_path(40, 3.0, 0.4)[:20]
    shaken = views.clone()
    shaken[:, :, 3] += 0.02 * torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    path = follow(shaken, 50)
    assert path.shape == (50, 3, 4)
    distance = torch.cdist(path[:, :, 3], views[:, :, 3]).min(1).values
    assert float(distance.max()) < 0.3  # neighbouring views are 0.43 apart
    inward = -torch.nn.functional.normalize(path[:, :, 3], dim=-1)
    assert float(((-path[:, :, 2]) * inward).sum(-1).min()) > math.cos(0.1)
    steps = torch.diff(path[:, :, 3], dim=0).norm(dim=-1)
    assert float(steps.max()) < 2 * float(steps.min())  # an even pace
    assert torch.linalg.det(path[:, :, :3]).tolist() == pytest.approx([1.0] * 50, abs=1e-5)


def test_following_shuffled_views_does_not_jump() -> None:
    views = spherical_path(60, 3.0, 0.4)[:30]
    shuffled = views[torch.randperm(30, generator=torch.Generator().manual_seed(0))]
    steps = torch.diff(follow(shuffled, 300)[:, :, 3], dim=0).norm(dim=-1)
    assert float(steps.max()) < 0.2


def test_following_one_view_or_the_same_view_twice_stands_still() -> None:
    pose = spherical_path(1, 3.0)
    for count in (1, 2):
        assert torch.allclose(follow(pose.repeat(count, 1, 1), 4), pose.repeat(4, 1, 1), atol=1e-6)
    with pytest.raises(ValueError, match="at least one frame"):
        follow(pose, 0)
