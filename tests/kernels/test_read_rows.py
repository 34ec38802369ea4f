"""Rows that occupied cells read, against positions sampled in these cells and encoded by the reference."""

import pytest
import torch
from torch import Tensor

from nerfcomp.kernels.hash_grid import GridGeometry, grid_geometry
from nerfcomp.kernels.hash_grid.torch_kernel import corner_indices
from nerfcomp.kernels.read_rows import read_rows

GEOMETRY = grid_geometry(6, 12, 8, 48)  # three levels are dense, three are hashed


def some_cells(cascades: int, side: int, share: float) -> Tensor:
    return torch.rand(cascades, side, side, side, generator=torch.Generator().manual_seed(0)) < share


def sampled_rows(occupied: Tensor, geometry: GridGeometry, level: int) -> Tensor:
    """Rows that positions in occupied cells read, faces of the cells included."""
    cascades, side = occupied.shape[:2]
    found, axis = torch.zeros(geometry.entries[level], dtype=torch.bool), torch.linspace(1e-4, 1.0 - 1e-4, 12)
    inside = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).view(-1, 3)
    for cascade, x, y, z in occupied.nonzero().tolist():
        width = 2.0 ** (cascade + 1 - cascades)
        position = 0.5 - width / 2 + width * (torch.tensor([x, y, z]) + inside) / side
        cell = (position * geometry.scales[level] + 0.5).floor().long()
        found[corner_indices(cell, geometry.resolutions[level], geometry.entries[level]).flatten()] = True
    return found


@pytest.mark.parametrize("cascades", [1, 2])
@pytest.mark.parametrize("level", range(6))
def test_no_position_reads_another_row_and_hardly_one_is_read_by_none(cascades: int, level: int) -> None:
    occupied = some_cells(cascades, 16, 0.01)
    read = read_rows(occupied, GEOMETRY)[level]
    assert read is not None
    sampled = sampled_rows(occupied, GEOMETRY, level)
    assert bool((read | ~sampled).all())
    assert int(sampled.sum()) > 0.95 * int(read.sum())


def test_levels_of_which_almost_all_rows_are_read_are_left_out() -> None:
    assert read_rows(torch.ones(1, 8, 8, 8, dtype=torch.bool), grid_geometry(2, 12, 8, 12)) == [None, None]
    fine = read_rows(some_cells(1, 16, 0.02), grid_geometry(2, 9, 8, 256))
    assert fine[0] is not None and fine[1] is None


@pytest.mark.slow
def test_where_nothing_is_occupied_tables_are_whole() -> None:
    assert read_rows(torch.zeros(1, 8, 8, 8, dtype=torch.bool), GEOMETRY) == [None] * 6


def test_where_too_many_cells_are_occupied_tables_are_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    occupied = some_cells(1, 16, 0.01)
    assert any(rows is not None for rows in read_rows(occupied, GEOMETRY))
    monkeypatch.setattr("nerfcomp.kernels.read_rows._MOST_CELLS", int(occupied.sum()) - 1)
    assert read_rows(occupied, GEOMETRY) == [None] * 6
