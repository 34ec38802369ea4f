"""Occupancy grid: its geometry, its schedule, and agreement between processes."""

import math
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from nerfcomp.geometry.cameras import make_camera
from nerfcomp.geometry.paths import look_at
from nerfcomp.kernels.seen_cells import seen_cells
from nerfcomp.rendering import OccupancyGrid
from tests.ranks import call
from tests.rendering.opacities import about

BOX = torch.tensor([[-2.0, -2.0, -2.0], [2.0, 2.0, 2.0]])


def slab(x: Tensor) -> Tensor:
    """Density 50 where x > 0.5."""
    return 50.0 * (x[:, 0] > 0.5).float()


def test_cell_points_lie_in_their_cells() -> None:
    """R = 4: the fine cascade spans [-1, 1], cells of 0.5; the coarse one [-2, 2], cells of 1."""
    grid = OccupancyGrid(resolution=4, cascades=2)
    grid.set_aabb(BOX)
    cells = torch.tensor([0, 3, 16, 64, 127])
    expected = torch.tensor([[-0.75] * 3, [-0.75, -0.75, 0.75], [-0.25, -0.75, -0.75], [-1.5] * 3, [1.5] * 3])
    torch.testing.assert_close(grid.cell_points(cells), expected)
    corner = grid.cell_points(cells, torch.zeros(5, 3))
    torch.testing.assert_close(corner[0], torch.tensor([-1.0] * 3))
    torch.testing.assert_close(corner[3], torch.tensor([-2.0] * 3))


@pytest.mark.parametrize("n_cells", [64, 100])
def test_every_cell_is_occupied_until_asked_and_all_are_asked_in_turn(n_cells: int) -> None:
    grid = OccupancyGrid(resolution=8, warmup_updates=0)
    grid.set_aabb(BOX)
    number = n_cells // 2
    for index in range(math.ceil(512 / number)):
        unknown = grid.density.isinf()
        assert int(unknown.sum()) <= 512 - index * number
        assert bool(grid.occupied[unknown].all())
        grid.update(index, about(slab), n_cells)
    assert not bool(grid.density.isinf().any())
    assert torch.equal(grid.occupied[0, :, 0, 0], torch.arange(8) >= 5)


@pytest.mark.parametrize(("n_cells", "asked", "edge"), [(None, 512, 1), (128, 512, 1), (127, 64, 2), (1, 8, 4)])
def test_in_the_warm_up_cells_share_answers_where_they_are_too_many(n_cells: int | None, asked: int, edge: int) -> None:
    grid, numbers = OccupancyGrid(resolution=8), list[int]()
    grid.set_aabb(BOX)

    def density(x: Tensor) -> Tensor:
        numbers.append(len(x))
        return x[:, 0] + 3

    grid.update(0, about(density), n_cells)
    assert numbers == [asked]
    blocks = grid.density[0].view(8 // edge, edge, 8 // edge, edge, 8 // edge, edge)
    assert torch.equal(blocks.amax((1, 3, 5)), blocks.amin((1, 3, 5)))
    low = (torch.arange(8 // edge) * edge * 0.5 + 1).view(-1, 1, 1, 1, 1, 1)
    assert bool(((blocks >= low) & (blocks <= low + edge * 0.5)).all())


def test_a_cell_is_the_running_maximum_with_decay() -> None:
    grid = OccupancyGrid(resolution=4, decay=0.5)
    grid.set_aabb(BOX)
    grid.update(0, about(lambda x: torch.full((len(x),), 8.0)))
    grid.update(1, about(lambda x: torch.full((len(x),), 1.0)))
    assert torch.allclose(grid.density, torch.tensor(4.0))
    grid.update(2, about(lambda x: torch.full((len(x),), 3.0)))
    assert torch.allclose(grid.density, torch.tensor(3.0))


def test_decay_makes_up_for_rare_visits() -> None:
    """8 in turn and 8 of the 64 occupied cells per update: a visit comes every 8 updates and counts decay ** 8."""
    grid = OccupancyGrid(resolution=4, decay=0.5, warmup_updates=0)
    grid.set_aabb(BOX)
    grid.density.fill_(256.0)
    grid.update(0, about(lambda x: torch.zeros(len(x))), 16)
    assert torch.unique(grid.density).tolist() == [1.0, 256.0]
    assert 8 <= int((grid.density == 1).sum()) <= 16


def test_threshold_is_the_mean_but_at_most_the_given_opacity() -> None:
    """Diagonal 4 sqrt(3): opacity 0.01 over 1/1024 of it means a density of 0.01005 * 1024 / 6.928 = 1.4855."""
    highest = -math.log(0.99) * 1024 / (4 * math.sqrt(3))
    assert abs(highest - 1.4855) < 1e-3
    for low, high, mean_counts in ((0.2, 1.0, True), (1.48, 100.0, False), (1.49, 100.0, False)):
        grid = OccupancyGrid(resolution=4)
        grid.set_aabb(BOX)
        grid.rebuild(about(lambda x, low=low, high=high: torch.where(x[:, 0] < 0, low, high)))  # type: ignore[misc]
        threshold = (low + high) / 2 if mean_counts else highest
        assert bool(grid.occupied[0, 0, 0, 0]) == (low > threshold)
        assert bool(grid.occupied[0, 3, 0, 0]) == (high > threshold)


def test_in_the_warm_up_only_cells_far_below_the_others_go() -> None:
    """A quarter may still be fog that training has not reached; a thousandth was driven there."""
    for low, stays in ((0.25, True), (0.001, False)):
        grid = OccupancyGrid(resolution=4)
        grid.set_aabb(BOX)
        grid.update(0, about(lambda x, low=low: torch.where(x[:, 0] < 0, low, 1.0)))  # type: ignore[misc]
        assert bool(grid.occupied[0, 0, 0, 0]) == stays
        assert bool(grid.occupied[0, 3, 0, 0])


def test_after_the_warm_up_half_of_the_cells_asked_are_occupied() -> None:
    grid = OccupancyGrid(resolution=16, warmup_updates=1)
    grid.set_aabb(BOX)
    asked: list[Tensor] = []

    def density(x: Tensor) -> Tensor:
        asked.append(x)
        return slab(x)

    grid.update(0, about(density))
    grid.update(1, about(density), 1000)
    assert [len(x) for x in asked] == [4096, 1000]
    share = float((asked[1][500:, 0] > 0.5).float().mean())
    assert share > 0.85  # those of cells cut by the plane fall on either side
    assert 0.2 < float((asked[1][:500, 0] > 0.5).float().mean()) < 0.55


def test_same_step_same_answer_and_steps_differ() -> None:
    grids = [OccupancyGrid(resolution=8, seed=seed) for seed in (0, 0, 1)]
    seen: list[Tensor] = []
    for grid in grids:
        grid.set_aabb(BOX)
        grid.update(3, about(lambda x: (seen.append(x), slab(x))[1]))  # type: ignore[func-returns-value]
    grids[0].update(4, about(lambda x: (seen.append(x), slab(x))[1]))  # type: ignore[func-returns-value]
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], seen[2])
    assert not torch.equal(seen[0].sort(0).values, seen[3].sort(0).values)


def test_values_that_are_no_numbers_do_not_poison_the_grid() -> None:
    grid = OccupancyGrid(resolution=4)
    grid.set_aabb(BOX)
    grid.update(0, about(lambda x: torch.where(x[:, 0] < 0, torch.nan, torch.where(x[:, 1] < 0, torch.inf, 0.5))))
    assert bool(grid.density.isfinite().all())
    grid.update(1, about(lambda x: torch.full((len(x),), 5.0)))
    assert bool((grid.density >= 5).all())


def test_unseen_cells_stay_empty() -> None:
    pose = look_at(torch.tensor([[0.0, -6.0, 0.0]]), torch.tensor([0.0, 0.0, 0.0]), torch.tensor([0.0, 0.0, 1.0]))
    grid = OccupancyGrid(resolution=16)
    grid.set_aabb(BOX)
    grid.allow(seen_cells(*make_camera(pose, 16, 16, 60.0), grid.aabb, 1, 16))
    unseen = grid.density < 0
    assert torch.equal(unseen, ~grid.occupied)
    assert bool(unseen[0, 0, 8, 8]) and not bool(unseen[0, 8, 8, 8])
    for index in range(20):
        grid.update(index, about(lambda x: torch.full((len(x),), 9.0)), 512)
    assert torch.equal(grid.density < 0, unseen)
    assert torch.equal(grid.occupied, ~unseen)
    grid.rebuild(about(lambda x: torch.full((len(x),), 9.0)))
    assert torch.equal(grid.occupied, ~unseen)


def test_cells_that_a_finer_cascade_covers_are_empty_and_stay_so() -> None:
    grid, covered = OccupancyGrid(resolution=8, cascades=3), torch.zeros(3, 8, 8, 8, dtype=torch.bool)
    covered[1:, 2:6, 2:6, 2:6] = True
    assert torch.equal(grid.occupied, ~covered)
    for change in (
        lambda: grid.set_aabb(BOX),
        lambda: grid.update(0, about(lambda x: torch.full((len(x),), 9.0))),
        lambda: grid.rebuild(about(lambda x: torch.full((len(x),), 9.0))),
        lambda: grid.load_state_dict({**grid.state_dict(), "occupied": torch.ones_like(covered)}),
    ):
        change()
        assert torch.equal(grid.occupied, ~covered) and torch.equal(grid.density < 0, covered)


def test_an_occupancy_from_a_file_is_taken_as_it_is() -> None:
    grid, full = OccupancyGrid(resolution=8, cascades=2), torch.ones(2, 8, 8, 8, dtype=torch.bool)
    grid.set_occupied(full)
    assert torch.equal(grid.occupied, full)


def test_rebuild_finds_what_is_there_and_is_repeatable() -> None:
    grids = [OccupancyGrid(resolution=8) for _ in range(2)]
    for grid in grids:
        grid.set_aabb(BOX)
    grids[1].update(0, about(lambda x: 100 * torch.rand(len(x))))
    for grid in grids:
        grid.rebuild(about(slab))
    assert torch.equal(grids[0].density, grids[1].density)
    assert torch.equal(grids[0].occupied[0, :, 0, 0], torch.arange(8) >= 5)


def test_a_foreign_occupancy_is_taken_over() -> None:
    grid, occupied = OccupancyGrid(resolution=8), torch.rand(1, 8, 8, 8) < 0.3
    grid.set_occupied(occupied)
    assert torch.equal(grid.occupied, occupied)
    grid.rebuild(about(lambda x: torch.full((len(x),), 1e6)))
    assert torch.equal(grid.occupied, occupied)
    with pytest.raises(ValueError, match=r"bool \(1, 8, 8, 8\), got torch.bool \(1, 4, 4, 4\)"):
        grid.set_occupied(torch.ones(1, 4, 4, 4, dtype=torch.bool))


def test_bricks_follow_the_occupancy() -> None:
    grid = OccupancyGrid(resolution=8)
    assert bool((grid.bricks.words == -1).all())
    grid.occupied.fill_(False)
    assert bool((grid.bricks.words == 0).all())
    other = OccupancyGrid(resolution=8)
    other.load_state_dict(grid.state_dict())
    assert bool((other.bricks.words == 0).all())
    assert grid.bricks is grid.bricks


def test_state_survives_a_round_trip() -> None:
    grid, other = OccupancyGrid(resolution=8, cascades=2), OccupancyGrid(resolution=8, cascades=2)
    grid.set_aabb(BOX)
    grid.update(0, about(slab), 300)
    other.load_state_dict(grid.state_dict())
    for one in (grid, other):
        one.update(1, about(slab), 300)
    assert all(torch.equal(grid.state_dict()[key], value) for key, value in other.state_dict().items())
    assert set(grid.state_dict()) == {"aabb", "density", "occupied"}


@pytest.mark.parametrize(("resolution", "cascades"), [(6, 1), (0, 1), (1024, 1), (8, 0), (8, 9)])
def test_impossible_grids_are_refused(resolution: int, cascades: int) -> None:
    with pytest.raises(ValueError, match="Allowed: 1 to 8 cascades"):
        OccupancyGrid(resolution, cascades)


@pytest.mark.parametrize("box", [[[0.0] * 3, [0.0, 1.0, 1.0]], [[0.0] * 3, [math.inf] * 3]])
def test_impossible_boxes_are_refused(box: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="two finite corners"):
        OccupancyGrid(8).set_aabb(torch.tensor(box))


def _update_with_own_field(rank: int, folder: str) -> None:
    """A process whose field differs from the other's: density where x > 0, or where y > 0."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    grid = OccupancyGrid(resolution=8, warmup_updates=2)
    grid.set_aabb(BOX)
    for index in range(5):
        grid.update(index, about(lambda x: 50.0 * (x[:, rank] > 0).float()), 256)
    torch.save(grid.state_dict(), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_agree(tmp_path: Path) -> None:
    call(_update_with_own_field, [(rank, str(tmp_path)) for rank in range(2)])
    one, other = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    assert all(torch.equal(one[key], other[key]) for key in one)
    quarters = one["occupied"][0, ::4, ::4, 0]
    assert quarters.tolist() == [[False, True], [True, True]]
