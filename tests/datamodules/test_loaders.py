import itertools
from collections import Counter
from typing import Any

import pytest
import torch

from nerfcomp.datamodules.loaders import RandomRayLoader, Sampling, ViewLoader, over_background
from nerfcomp.geometry.cameras import project
from nerfcomp.geometry.rays import RayBatch, camera_rays
from tests.tiny import TinyReader

WHITE = torch.ones(3)


def loader(
    batch_size: int = 64,
    rank: int = 0,
    world_size: int = 1,
    seed: int = 0,
    sampling: Sampling = "all_images",
    background: torch.Tensor | None = WHITE,
    size: int = 8,
) -> RandomRayLoader:
    scene = TinyReader(size=size).read("train")
    steps = itertools.count().__next__
    return RandomRayLoader(scene, batch_size, 10, steps, background, sampling, seed, rank, world_size)


def flat(batch: RayBatch) -> torch.Tensor:
    return torch.cat([*batch.rays, batch.rgb, batch.background], -1)


def distinct(rows: torch.Tensor) -> int:
    return len(set(map(tuple, rows.tolist())))


def test_over_background_by_hand() -> None:
    rgba = torch.tensor([[255, 0, 51, 255], [255, 0, 51, 0], [255, 0, 51, 102]], dtype=torch.uint8)
    background = torch.tensor([[1.0, 1.0, 1.0], [0.0, 0.5, 1.0], [0.5, 1.0, 0.0]])
    blend = [1.0 * 0.4 + 0.5 * 0.6, 0.0 * 0.4 + 1.0 * 0.6, 0.2 * 0.4 + 0.0 * 0.6]
    expected = torch.tensor([[1.0, 0.0, 0.2], [0.0, 0.5, 1.0], blend])
    torch.testing.assert_close(over_background(rgba, background), expected)


def test_first_steps_see_the_middle_only() -> None:
    scene = TinyReader(size=8).read("train")
    drawn = RandomRayLoader(scene, 512, 10, lambda: 0, WHITE, "one_image", precrop_steps=3, precrop_fraction=0.5)
    inner = {(y, x) for y in range(2, 6) for x in range(2, 6)}
    for step, expected in ((2, inner), (3, {(y, x) for y in range(8) for x in range(8)})):
        rays = drawn.draw(step).rays
        view = int((scene.camera.c2w[:, :, 3] - rays.origins[0]).norm(dim=1).argmin())
        pixels = project(scene.camera, torch.full((512,), view), rays.origins + rays.directions)
        assert {(round(y), round(x)) for x, y in zip(pixels.x.tolist(), pixels.y.tolist())} == expected


def test_rays_and_colours_belong_to_the_same_pixel() -> None:
    scene = TinyReader().read("train")
    batch = loader(batch_size=512).draw(5)
    # every pixel of the scene with its ray, so that each drawn ray can be looked up by where it goes
    view, y, x = (axis.flatten() for axis in torch.meshgrid(*map(torch.arange, (4, 8, 8)), indexing="ij"))
    everything = camera_rays(scene.camera, view, x, y, scene.near, scene.far, scene.ndc)
    apart = torch.cdist(
        torch.cat([batch.rays.origins, batch.rays.directions], -1),
        torch.cat([everything.origins, everything.directions], -1),
        compute_mode="donot_use_mm_for_euclid_dist",
    )
    distance, pixel = apart.min(-1)
    assert distance.max() < 1e-3
    torch.testing.assert_close(batch.rgb, over_background(scene.images.view(-1, 4)[pixel], WHITE))


def test_draws_cover_all_views_evenly() -> None:
    origins = torch.cat([loader().draw(step).rays.origins for step in range(50)])
    counts = Counter(map(tuple, origins.tolist()))
    assert len(counts) == 4
    assert min(counts.values()) > 0.2 * len(origins)


def test_one_image_draws_one_view_per_step_and_changes_it() -> None:
    batches = [loader(sampling="one_image").draw(step) for step in range(20)]
    assert all(distinct(batch.rays.origins) == 1 for batch in batches)
    assert distinct(torch.cat([batch.rays.origins for batch in batches])) == 4


@pytest.mark.parametrize("sampling", ["all_images", "one_image"])
@pytest.mark.parametrize("background", [None, WHITE])
def test_ranks_share_out_the_batch_of_one_process(sampling: Sampling, background: torch.Tensor | None) -> None:
    whole = flat(loader(batch_size=48, sampling=sampling, background=background).draw(7))
    for rank in range(3):
        mine = flat(loader(16, rank, 3, sampling=sampling, background=background).draw(7))
        assert torch.equal(mine, whole[rank::3])


def test_ranks_draw_other_rays() -> None:
    # 65,536 pixels, 16 draws each: that two ranks draw the same one by chance does not happen with this seed
    first, second = (flat(loader(16, rank, 2, size=128).draw(0)) for rank in (0, 1))
    assert distinct(torch.cat([first, second])) == 32


def test_steps_and_seeds_give_other_draws_and_the_same_give_the_same() -> None:
    draws = [flat(loader(seed=seed).draw(step)) for seed in (0, 1) for step in (0, 1)]
    assert all(not torch.equal(a, b) for a, b in itertools.combinations(draws, 2))
    assert torch.equal(draws[3], flat(loader(seed=1).draw(1)))


def test_large_seeds_differ() -> None:
    # torch's own CPU generator would take both for 1
    assert not torch.equal(flat(loader(seed=1).draw(0)), flat(loader(seed=1 + 2**32).draw(0)))


def test_random_background_is_behind_the_transparent_half_only() -> None:
    batch = loader(background=None, batch_size=256).draw(0)
    white = loader(batch_size=256).draw(0)
    assert batch.background.std() > 0.2
    assert 0 <= batch.background.min() and batch.background.max() <= 1
    opaque = (batch.rgb - white.rgb).abs().amax(-1) < 1e-6
    assert 0.3 < opaque.float().mean() < 0.7
    expected = white.rgb - 0.6 * (1 - batch.background)
    torch.testing.assert_close(batch.rgb[~opaque], expected[~opaque])


def test_iterator_follows_the_step_counter_without_end() -> None:
    batches = list(itertools.islice(loader(), 12))
    assert len(loader()) == 10
    assert all(torch.equal(flat(batch), flat(loader().draw(step))) for step, batch in enumerate(batches))


def test_images_stay_bytes_in_memory() -> None:
    data = loader()
    next(iter(data))
    assert data.scene.images.dtype == torch.uint8
    assert sum(value.numel() for value in vars(data).values() if isinstance(value, torch.Tensor)) == 3


@pytest.mark.parametrize(("change", "warns"), [({}, False), ({"seed": 1}, True), ({"batch_size": 32}, True)])
def test_resuming_with_other_draws_warns(change: dict[str, Any], warns: bool, caplog: pytest.LogCaptureFixture) -> None:
    loader(**change).load_state_dict(loader().state_dict())
    assert ("draws other rays" in caplog.text) == warns


def test_resuming_with_twice_the_processes_and_half_the_batch_is_the_same(caplog: pytest.LogCaptureFixture) -> None:
    loader(batch_size=32, world_size=2).load_state_dict(loader(batch_size=64).state_dict())
    assert not caplog.text


def test_views_are_whole_images_in_row_major_order() -> None:
    scene = TinyReader().read("val")
    batches = list(ViewLoader(scene, WHITE))
    assert [batch.name for batch in batches] == list(scene.names)
    batch = batches[2]
    assert (batch.height, batch.width) == (8, 8)
    pixel = 3 * 8 + 6
    expected = over_background(scene.images[2, 3, 6][None], WHITE)
    torch.testing.assert_close(batch.rgb[pixel], expected[0])
    ray = camera_rays(scene.camera, torch.tensor([2]), torch.tensor([6]), torch.tensor([3]), scene.near, scene.far)
    torch.testing.assert_close(batch.rays.directions[pixel], ray.directions[0])


@pytest.mark.parametrize("world_size", [1, 2, 3, 5, 8])
def test_every_view_is_on_exactly_one_rank_and_all_ranks_have_as_many_batches(world_size: int) -> None:
    scene = TinyReader().read("val")
    ranks = [list(ViewLoader(scene, WHITE, rank, world_size)) for rank in range(world_size)]
    assert len({len(batches) for batches in ranks}) == 1
    names = [batch.name for batches in ranks for batch in batches if batch.height]
    assert sorted(names) == sorted(scene.names)
    blank = [batch for batches in ranks for batch in batches if not batch.height]
    assert all(len(batch.rgb) == 0 and batch.name == "" for batch in blank)
