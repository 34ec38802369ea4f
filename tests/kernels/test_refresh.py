"""Refreshing of cells: by hand, and twins against the reference."""

import math

import pytest
import torch

from nerfcomp.kernels.backends import Backend
from nerfcomp.kernels.refresh import refresh, refresh_torch
from tests.kernels.twins import TRITON, place


@pytest.mark.parametrize("backend", [TRITON])
@pytest.mark.parametrize("number", [0, 1, 5000])
def test_twin_equals_torch_bit_for_bit(backend: Backend, number: int) -> None:
    """A cell occurs several times, and nothing is known of some."""
    density, cells, found = torch.rand(300), torch.randint(300, (number,)), torch.rand(number)
    density[::7], found[::3] = math.inf, 0.0
    mine = density.to(place(backend))
    refresh(mine, cells.to(mine.device), found.to(mine.device), torch.tensor(0.9, device=mine.device), backend)
    refresh_torch(density, cells, found, torch.tensor(0.9))
    assert torch.equal(mine.cpu(), density)


def test_by_hand() -> None:
    density = torch.tensor([1.0, 8.0, math.inf, 5.0])
    refresh(density, torch.tensor([0, 1, 2, 1]), torch.tensor([3.0, 1.0, 0.0, 6.0]), torch.tensor(0.5))
    assert density.tolist() == [3.0, 6.0, 0.0, 5.0]
