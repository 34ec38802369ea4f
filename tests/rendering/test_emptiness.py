"""Looking up cells, and finding by questions which are empty."""

import torch

from nerfcomp.rendering.emptiness import cell_numbers, find_occupied, occupied_at
from nerfcomp.rendering.occupancy import OccupancyGrid
from tests.rendering.opacities import Density, about


def density_of_ball(radius: float, center: tuple[float, float, float]) -> Density:
    return lambda x: ((x - torch.tensor(center)).norm(dim=1) < radius).float()


def test_cells_are_those_that_the_grid_numbers() -> None:
    grid = OccupancyGrid(8, 3)
    grid.set_aabb(torch.tensor([[-2.0, -1.0, 0.0], [6.0, 7.0, 8.0]]))
    inner = torch.zeros(3, 8, 8, 8, dtype=torch.bool)
    inner[1:, 2:6, 2:6, 2:6] = True  # where a finer cube decides
    cells = (~inner).flatten().nonzero().squeeze(1)
    x = grid.cell_points(cells, torch.rand(len(cells), 3) * 0.98 + 0.01)
    assert torch.equal(cell_numbers(x, 3, 8, grid.aabb), cells)


def test_outside_and_on_the_faces() -> None:
    occupied, box = torch.ones(2, 4, 4, 4, dtype=torch.bool), torch.tensor([[-1.0] * 3, [1.0] * 3])
    x = torch.tensor([[1.0, 1.0, 1.0], [-1.0, 0.0, 0.0], [1.001, 0.0, 0.0]])
    assert occupied_at(x, occupied, box, outside=False).tolist() == [True, True, False]
    assert occupied_at(x, ~occupied, box, outside=True).tolist() == [False, False, True]


def test_every_place_with_density_is_found_and_most_of_the_rest_left_out() -> None:
    grid = OccupancyGrid(32, 2)
    grid.set_aabb(torch.tensor([[-2.0] * 3, [2.0] * 3]))
    inner, outer = density_of_ball(0.4, (0.3, 0.2, 0.1)), density_of_ball(0.3, (1.3, -1.3, 0.0))
    occupied = find_occupied(grid, [about(inner), about(lambda x: inner(x) + outer(x))])[1]
    x = torch.rand(100_000, 3) * 4 - 2
    solid = inner(x) + outer(x) > 0
    found = occupied_at(x, occupied, grid.aabb, outside=True)
    assert bool(found[solid].all())
    assert found.float().mean() < 6 * solid.float().mean()


def test_neighbours_of_a_find_count_too() -> None:
    grid = OccupancyGrid(8, 1)
    occupied = find_occupied(grid, [about(lambda x: ((x - 0.125).abs().amax(1) < 0.124).float())])[0]
    expected = torch.zeros(1, 8, 8, 8, dtype=torch.bool)
    expected[0, 3:6, 3:6, 3:6] = True
    assert torch.equal(occupied, expected)


def test_the_thinnest_fog_is_something() -> None:
    grid = OccupancyGrid(8, 1)
    fog, nothing = find_occupied(
        grid, [about(lambda x: torch.full((len(x),), 1e-6)), about(lambda x: torch.zeros(len(x)))]
    )
    assert bool(fog.all()) and not bool(nothing.any())
