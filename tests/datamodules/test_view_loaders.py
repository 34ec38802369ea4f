import itertools
from collections import Counter

import pytest
import torch

from nerfcomp.datamodules.view_loaders import FreshViewLoader, RandomViewLoader
from nerfcomp.geometry.cameras import Camera, make_camera
from nerfcomp.geometry.paths import spherical_path

VIEWS = 11


def picture(view: int) -> torch.Tensor:
    return torch.full((2, 3, 3), view, dtype=torch.uint8)


def camera(views: int = VIEWS) -> Camera:
    return make_camera(spherical_path(views, 4.0, 0.3), 2, 3, 4.0)


def loader(batch: int = 2, rank: int = 0, world_size: int = 1, seed: int = 0, start: int = 0) -> RandomViewLoader:
    steps = itertools.count(start).__next__
    return RandomViewLoader(camera(), picture, batch, steps, seed, rank, world_size)


def test_an_epoch_sees_every_view_at_most_once() -> None:
    one = loader()
    assert len(one) == 5
    for epoch in range(3):
        drawn = Counter(view for step in range(5) for view in one.draw(5 * epoch + step))
        assert len(drawn) == 10 and set(drawn.values()) == {1}
    assert one.draw(0) != one.draw(5)
    assert one.draw(3) == loader().draw(3) != loader(seed=1).draw(3)


def test_ranks_share_no_view_and_make_up_the_batch_of_one() -> None:
    alone = loader(batch=4)
    ranks = [loader(batch=2, rank=rank, world_size=2) for rank in (0, 1)]
    assert {len(one) for one in (alone, *ranks)} == {2}
    for step in range(8):
        mine, theirs = (rank.draw(step) for rank in ranks)
        assert not set(mine) & set(theirs)
        assert alone.draw(step) == [view for pair in zip(mine, theirs) for view in pair]


def test_batches_hold_pictures_of_their_cameras() -> None:
    for step, batch in zip(range(7), loader()):
        views = batch.rgb[:, 0, 0, 0].tolist()
        assert views == loader().draw(step) and batch.rgb.shape == (2, 2, 3, 3)
        assert torch.equal(batch.camera.c2w, camera().c2w[views]) and batch.camera.width == 3


def test_resumed_loader_goes_on() -> None:
    straight = [batch.rgb.clone() for _, batch in zip(range(6), loader())]
    resumed = [batch.rgb.clone() for _, batch in zip(range(3), loader(start=3))]
    assert all(torch.equal(one, other) for one, other in zip(straight[3:], resumed, strict=True))


def test_too_few_views_are_refused() -> None:
    with pytest.raises(ValueError, match="11 views, fewer than the 12"):
        loader(batch=6, world_size=2)


def test_changed_batches_are_reported(caplog: pytest.LogCaptureFixture) -> None:
    loader(batch=2).load_state_dict(loader(batch=1, world_size=2).state_dict())
    assert not caplog.text
    loader(batch=4).load_state_dict(loader(batch=2).state_dict())
    assert "'views_per_step': 4" in caplog.text


class Teacher:
    """Renders the number of the view; remembers what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def view(self, index: int) -> tuple[Camera, torch.Tensor]:
        self.asked.append(index)
        return make_camera(spherical_path(1, 1.0 + index), 2, 3, 4.0), picture(index)


def fresh(teacher: Teacher, rank: int = 0, world_size: int = 1) -> FreshViewLoader:
    steps = itertools.count().__next__
    return FreshViewLoader(teacher.view, 4, 10, 3, 2, steps, 0, rank, world_size)


def test_every_epoch_adds_fresh_views_and_drops_the_oldest() -> None:
    teacher = Teacher()
    one = fresh(teacher)
    assert len(one) == 3
    for step, batch in zip(range(12), one):
        epoch = step // 3
        pool = range(max(0, 4 * epoch + 4 - 10), 4 * epoch + 4)
        assert sorted(one.pool) == list(pool) and set(batch.rgb[:, 0, 0, 0].tolist()) <= set(pool)
        radius = batch.camera.c2w[:, :, 3].norm(dim=-1)
        assert torch.allclose(radius, 1.0 + batch.rgb[:, 0, 0, 0].float())
    assert teacher.asked == list(range(16))  # each view once


def test_ranks_have_pools_of_their_own_and_repeat_after_a_stop() -> None:
    pools = [fresh(Teacher(), rank, 2) for rank in (0, 1)]
    first = [pool.draw(7).rgb for pool in pools]
    assert not set(pools[0].pool) & set(pools[1].pool)
    assert sorted([*pools[0].pool, *pools[1].pool]) == list(range(2, 12))
    again = fresh(Teacher(), 1, 2)
    assert torch.equal(again.draw(7).rgb, first[1])
