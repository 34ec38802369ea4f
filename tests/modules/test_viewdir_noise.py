"""Directions that a field is shown in training, turned by angles of the order of that between views."""

import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from nerfcomp.evaluation.views import evaluate_views
from nerfcomp.geometry.rays import Rays, image_rays
from nerfcomp.modules import RadianceFieldModule
from tests.modules.tiny_fields import data, quiet_fit, tiny_ngp

pytestmark = pytest.mark.slow


class Noted(RadianceFieldModule):
    """Keeps the rays of every step, before and after."""

    def __init__(self, viewdir_noise: float) -> None:
        super().__init__(*tiny_ngp(), viewdir_noise=viewdir_noise)
        self.seen: list[tuple[Rays, Rays]] = []

    def turned(self, rays: Rays) -> Rays:
        self.seen.append((rays, super().turned(rays)))
        return self.seen[-1][1]


def angles(first: Tensor, second: Tensor) -> Tensor:
    """Angles (N,) between directions (N, 3), radians."""
    return torch.atan2(torch.linalg.cross(first, second).norm(dim=1), (first * second).sum(1))


def test_directions_are_turned_by_a_share_of_the_angle_between_views(tmp_path: Path) -> None:
    """Three views, the angles between which the test finds by itself; the places of samples stay."""
    module, views = Noted(0.2), data()
    quiet_fit(module, views, tmp_path, 20)
    axes = [pose[:, 2].double() for pose in views.split("train").camera.c2w]
    nearest = sorted(min(math.acos(float(a @ b)) for b in axes if b is not a) for a in axes)
    turns = torch.cat([angles(before.viewdirs, after.viewdirs) for before, after in module.seen])
    assert turns.square().mean().sqrt() == pytest.approx(0.2 * nearest[1], rel=0.05)
    for before, after in module.seen:
        assert all(torch.equal(mine, other) for mine, other in zip(before[:4], after[:4], strict=True))


def test_a_resumed_run_ends_as_one_that_was_never_stopped(tmp_path: Path) -> None:
    first, resumed, straight = (Noted(0.5) for _ in range(3))
    quiet_fit(first, data(), tmp_path, 4).save_checkpoint(tmp_path / "first.ckpt")
    quiet_fit(resumed, data(), tmp_path, 7, tmp_path / "first.ckpt")
    quiet_fit(straight, data(), tmp_path, 7)
    assert all(torch.equal(value, resumed.state_dict()[name]) for name, value in straight.state_dict().items())
    assert not torch.equal(*(after.viewdirs for _, after in straight.seen[:2]))


def test_pictures_know_nothing_of_it(tmp_path: Path) -> None:
    noisy, plain = Noted(0.5), Noted(0.0)
    quiet_fit(noisy, data(), tmp_path, 3)
    quiet_fit(plain, data(), tmp_path, 1)
    assert all(before is after for before, after in plain.seen)
    plain.load_state_dict(noisy.state_dict())
    first, second = (evaluate_views(module.eval().trained, data().split("test")) for module in (noisy, plain))
    assert [view.psnr for view in first] == [view.psnr for view in second]


def test_ranks_turn_their_shares_of_the_rays(tmp_path: Path) -> None:
    """Two ranks show the field what one process shows it of the rays of both."""
    module = Noted(0.5)
    quiet_fit(module, data(), tmp_path, 1)
    rays = image_rays(data().split("train").camera, 0, 2.0, 6.0)
    together = module.turned(rays).viewdirs
    assert angles(rays.viewdirs, together).max() > 0.1
    for rank in (0, 1):
        place = SimpleNamespace(world_size=2, global_rank=rank, global_step=module.global_step)
        module._trainer = place  # type: ignore[assignment]
        own = module.turned(Rays(*(value[rank::2] for value in rays)))
        assert torch.equal(own.viewdirs, together[rank::2])


def test_a_single_view_has_no_neighbour() -> None:
    assert Noted(0.5).view_spacing == 0.0


@pytest.mark.parametrize("noise", [-0.1, 2.5, math.nan])
def test_what_cannot_be_is_said(noise: float) -> None:
    with pytest.raises(ValueError, match="viewdir_noise"):
        Noted(noise)
