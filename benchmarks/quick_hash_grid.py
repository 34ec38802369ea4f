"""Hash grid and its optimizer on this machine: numba against plain torch, in the same run.

python benchmarks/quick_hash_grid.py [--points 32768] [--levels 16] [--log2-table-size 19] [--touched 0.1]

Milliseconds, and how many times as fast as the reference (torch for the grid, torch's fused Adam for the optimizer) by
median wall time and by CPU time. Writes runs/benchmarks/hash_grid.json.
"""

import argparse
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from nerfcomp.process import prepare_process

prepare_process()  # before torch is loaded
import torch
from torch import Tensor

from benchmarks.common import Timing, measure, report
from nerfcomp.kernels.backends import Backend
from nerfcomp.kernels.hash_grid import GridGeometry, grid_geometry, hash_encode
from nerfcomp.optim import GridAdam

Cases = dict[str, Callable[[], object]]


class Row(NamedTuple):
    """One line of the table; ``times`` compare with the reference."""

    what: str
    median_ms: float
    fastest_ms: float
    cpu_ms: float
    times: float
    times_cpu: float


def grid_cases(geometry: GridGeometry, points: int, backend: Backend) -> Cases:
    """Inference, forward, backward and both, for uniformly random points (the worst case for caches)."""
    torch.manual_seed(0)
    x, grad = torch.rand(points, 3), torch.randn(points, 2 * len(geometry.entries))
    tables = [torch.randn(entries, 2, requires_grad=True) for entries in geometry.entries]

    def forward() -> Tensor:
        return hash_encode(x, tables, geometry, backend)

    def inference() -> Tensor:
        with torch.inference_mode():
            return forward()

    features = forward()
    return {
        f"{backend} inference": inference,
        f"{backend} forward": forward,
        f"{backend} backward": lambda: torch.autograd.grad(features, tables, grad, retain_graph=True),
        f"{backend} forward+backward": lambda: torch.autograd.grad(forward(), tables, grad),
    }


def adam_cases(levels: int, entries: int, touched: float) -> Cases:
    """One step on full-size tables; neighbours along x are touched together, as interpolation does."""
    torch.manual_seed(0)
    tables = [torch.nn.Parameter(torch.randn(entries, 2)) for _ in range(levels)]
    for table in tables:
        pairs = (torch.rand(entries // 2, 1, 1) < touched).expand(-1, 2, 2).reshape(entries, 2)
        table.grad = torch.randn(entries, 2) * pairs
    return {
        "torch Adam fused": torch.optim.Adam(tables, lr=1e-4, eps=1e-15, fused=True).step,
        "torch Adam": torch.optim.Adam(tables, lr=1e-4, eps=1e-15).step,
        "GridAdam": GridAdam(tables, lr=1e-4).step,
    }


def rows(timings: dict[str, Timing], reference: Callable[[str], str]) -> list[Row]:
    """Table lines; ``reference`` names the case that a case is compared with."""
    return [
        Row(
            t.name,
            t.median,
            t.fastest,
            t.cpu,
            timings[reference(t.name)].median / t.median,
            timings[reference(t.name)].cpu / t.cpu,
        )
        for t in timings.values()
    ]


def main(points: int, levels: int, log2_table_size: int, touched: float, repeats: int) -> None:
    """Measure and report."""
    geometry = grid_geometry(levels, log2_table_size)
    timings = measure(grid_cases(geometry, points, "torch") | grid_cases(geometry, points, "numba"), repeats)
    table = rows(timings, lambda name: name.replace("numba", "torch"))
    timings = measure(adam_cases(levels, 2**log2_table_size, touched), repeats)
    table += rows(timings, lambda name: "torch Adam fused")
    settings = {"points": points, "levels": levels, "log2_table_size": log2_table_size, "touched": touched}
    report("hash_grid", settings, table)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description="Hash grid and optimizer: numba against torch.")
    parser.add_argument("--points", type=int, default=32768)
    parser.add_argument("--levels", type=int, default=16)
    parser.add_argument("--log2-table-size", type=int, default=19)
    parser.add_argument("--touched", type=float, default=0.1, help="share of table rows that have a gradient")
    parser.add_argument("--repeats", type=int, default=10)
    main(**vars(parser.parse_args()))
