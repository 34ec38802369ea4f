"""Gradients of two real processes, averaged without their zeros: read in shared memory, sent, or whole."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn

from nerfcomp.fields import NGPField
from nerfcomp.modules import processes
from nerfcomp.modules.processes import RankShares, SparseExchange, agreed_buffers, sparse_parameters
from nerfcomp.rendering import OccupancySampler
from tests.ranks import call

pytestmark = pytest.mark.slow

CASES: dict[str, dict[str, Any]] = {
    "shared": {},
    "sent": {"shared": False},
    "full": {"shared": False, "density": 1.0},
    "odd": {"shape": (333, 1)},
    "double": {"dtype": torch.float64},
}
STEPS = 4


def gradient(rank: int, step: int, shape: tuple[int, int], dtype: torch.dtype, density: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(10 * step + rank)
    touched = torch.rand(shape[0], 1, generator=generator) < density
    return torch.where(touched, torch.randn(shape, generator=generator, dtype=dtype), 0.0)


def average(
    shared: bool = True, density: float = 0.1, shape: tuple[int, int] = (500, 2), dtype: torch.dtype = torch.float32
) -> bool:
    """Whether every step's mean is the sum of both gradients, halved."""
    if not shared:
        processes._SHARED_FOLDER = Path("/nowhere")
    parameter = nn.Parameter(torch.zeros(shape, dtype=dtype))
    exchanged, right = SparseExchange([parameter]), True
    for step in range(STEPS):
        both = [gradient(rank, step, shape, dtype, density) for rank in range(2)]
        parameter.grad = both[dist.get_rank()].clone()
        exchanged.average()
        right &= torch.equal(parameter.grad, (both[0] + both[1]) / 2)
    return right


def run(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=2)
    found: dict[str, Any] = {name: average(**case) for name, case in CASES.items()}
    found["shares"] = RankShares([[3, 10], [1, 10]][rank], torch.device("cpu")).wait().tolist()
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("pair")
    call(run, [(rank, str(folder)) for rank in range(2)])
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("case", CASES)
def test_gradients_become_their_mean(found: list[dict[str, Any]], case: str) -> None:
    assert found[0][case] and found[1][case]


def test_shares_follow_the_numbers_of_rays(found: list[dict[str, Any]]) -> None:
    assert [rank["shares"] for rank in found] == [[1.5, 1.0], [0.5, 1.0]]


def test_tables_and_occupancy_are_looked_after() -> None:
    module = nn.ModuleDict({"field": NGPField(levels=2, log2_table_size=6), "sampler": OccupancySampler(8)})
    assert [name for name, _ in sparse_parameters(module)] == [f"field.grid.levels.{i}.weight" for i in range(2)]
    assert {name for name, _ in agreed_buffers(module)} == {
        f"sampler.grid.{b}" for b in ("aabb", "density", "occupied")
    }
    module.requires_grad_(False)
    assert not list(sparse_parameters(module))
