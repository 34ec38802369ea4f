import itertools
from collections import Counter

import pytest
import torch

from nerfcomp.datamodules.patch_loader import RandomPatchLoader
from nerfcomp.fields.block_points import Bounds, block_points
from nerfcomp.geometry.cameras import make_camera
from nerfcomp.geometry.paths import spherical_path

VIEWS, HEIGHT, WIDTH, SIDE = 5, 12, 16, 4


def picture(view: int) -> torch.Tensor:
    rows, columns = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    return torch.stack([torch.full_like(rows, view), rows, columns], -1).byte()


def loader(batch: int = 1, rank: int = 0, world_size: int = 1, seed: int = 0, start: int = 0) -> RandomPatchLoader:
    camera = make_camera(spherical_path(VIEWS, 4.0, 0.3), HEIGHT, WIDTH, 20.0)
    return RandomPatchLoader(camera, picture, SIDE, batch, itertools.count(start).__next__, seed, rank, world_size)


def test_patches_are_what_their_cameras_see() -> None:
    one, bounds = loader(), Bounds(2.0, 6.0)
    for step, batch in zip(range(3), one):
        views, top, left = one.draw(step)
        assert batch.rgb.shape == (12, SIDE, SIDE, 3)
        whole = block_points(one.camera, 1, 2, bounds)
        points = block_points(batch.camera, 1, 2, bounds)
        for patch, (view, y, x) in enumerate(zip(views, top.tolist(), left.tolist(), strict=True)):
            assert batch.rgb[patch, 0, 0].tolist() == [view, y, x]
            expected = whole[view, y : y + SIDE, x : x + SIDE]
            torch.testing.assert_close(points[patch], expected, atol=1e-5, rtol=1e-5)


def test_every_step_uses_all_views_alike_and_other_places() -> None:
    one = loader()
    assert set(Counter(one.draw(0).views).values()) == {2, 3}
    assert not torch.equal(one.draw(0).top, one.draw(1).top)
    tops = torch.cat([one.draw(step).top for step in range(50)])
    assert tops.min() == 0 and tops.max() == HEIGHT - SIDE


def test_ranks_make_up_the_step_of_one() -> None:
    alone = loader(batch=2)
    ranks = [loader(rank=rank, world_size=2) for rank in (0, 1)]
    assert len(alone) == len(ranks[0])
    for step in range(3):
        whole, mine, theirs = (one.draw(step) for one in (alone, *ranks))
        assert whole.views == [view for pair in zip(mine.views, theirs.views) for view in pair]
        assert torch.equal(whole.top[1::2], theirs.top) and torch.equal(whole.left[::2], mine.left)


def test_resumed_loader_goes_on() -> None:
    straight = [batch.rgb for _, batch in zip(range(4), loader())]
    resumed = [batch.rgb for _, batch in zip(range(2), loader(start=2))]
    assert all(torch.equal(one, other) for one, other in zip(straight[2:], resumed, strict=True))
    assert not torch.equal(straight[0], next(iter(loader(seed=1))).rgb)


def test_patch_larger_than_a_view_is_refused() -> None:
    camera = make_camera(spherical_path(2, 4.0, 0.3), 8, 8, 4.0)
    with pytest.raises(ValueError, match="9 pixels do not fit into views of 8x8"):
        RandomPatchLoader(camera, picture, 9, 1, itertools.count().__next__)
