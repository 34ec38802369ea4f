"""March and composite rays: numba against the torch twins, the same rays in the same run.

python benchmarks/quick_render_kernels.py [rays] [steps]

4,096 rays from all around and 512 steps across the diagonal of a box with 128^3 cells by default; plates, rods and a
shell occupy 3 % of the cells, about as many as lego. Writes runs/benchmarks/render_kernels.json.
"""

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

from benchmarks.common import measure, report
from nerfcomp.geometry.cameras import make_camera
from nerfcomp.geometry.paths import look_at
from nerfcomp.kernels.backends import Backend
from nerfcomp.kernels.composite import composite, distortion_loss
from nerfcomp.kernels.march import Samples, march
from nerfcomp.kernels.march.bricks import pack_bricks
from nerfcomp.kernels.seen_cells import seen_cells

RESOLUTION = 128
BOX = torch.tensor([[-1.35] * 3, [1.35] * 3])


class Row(NamedTuple):
    """One operation; ``ratio`` compares medians of wall time."""

    operation: str
    samples: int
    numba_ms: float
    numba_cpu_ms: float
    torch_ms: float
    ratio: float


def toy_occupancy() -> Tensor:
    """Plates, rods and a shell (1, 128, 128, 128)."""
    axis = (torch.arange(RESOLUTION) + 0.5) / RESOLUTION * 2 - 1
    x, y, z = torch.meshgrid(axis, axis, axis, indexing="ij")
    plate = (x.abs() < 0.6) & (y.abs() < 0.75) & (z.abs() < 0.06)
    shell = ((x**2 + y**2 + (z - 0.3) ** 2).sqrt() - 0.35).abs() < 0.025
    rods = ((x - 0.4).abs() < 0.03) & ((y * 8).round().remainder(2) == 0) & (z.abs() < 0.6) & (y.abs() < 0.6)
    return (plate | shell | rods).unsqueeze(0)


def rays_around(n: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Rays of the upper half sphere that cross the box."""
    origins = torch.nn.functional.normalize(torch.randn(n, 3), dim=1) * 4.03
    origins[:, 2].abs_()
    targets = (torch.rand(n, 3) - 0.5) * 2.0
    return origins, torch.nn.functional.normalize(targets - origins, dim=1), torch.zeros(n, 1), torch.full((n, 1), 9.0)


def blend(samples: Samples, alpha: Tensor, rgb: Tensor, backend: Backend) -> None:
    """Composite forward and backward, with gradients of colour and weights."""
    out = composite(alpha, rgb, samples.t, samples.offsets, backend=backend)
    (out.rgb.sum() + out.weights.square().sum()).backward()


def distort(samples: Samples, weights: Tensor, backend: Backend) -> None:
    """Distortion loss forward and backward."""
    distortion_loss(weights, samples.t, samples.dt, samples.offsets, backend).sum().backward()


def compare(operation: str, samples: int, run: Callable[[Backend], object]) -> Row:
    """Time both backends in rotation."""
    times = measure({"numba": lambda: run("numba"), "torch": lambda: run("torch")}, repeats=7)
    fast, slow = times["numba"], times["torch"]
    return Row(operation, samples, fast.median, fast.cpu, slow.median, slow.median / fast.median)


def main(n_rays: int = 4096, n_steps: int = 512) -> None:
    """Measure march, compositing, distortion and the preparation of a grid."""
    torch.manual_seed(0)
    occupied, rays, jitter = toy_occupancy(), rays_around(n_rays), torch.rand(n_rays)
    step, bricks = float((BOX[1] - BOX[0]).norm()) / n_steps, pack_bricks(occupied)

    def run_march(backend: Backend) -> Samples:
        return march(*rays, jitter, occupied, BOX, step, step, bricks=bricks, backend=backend)

    samples = run_march("numba")
    m = len(samples.t)
    alpha, rgb = (torch.rand(m) * 0.2).requires_grad_(), torch.rand(m, 3, requires_grad=True)
    weights = torch.rand(m).mul_(0.01).requires_grad_()
    rows = [
        compare("march", m, run_march),
        compare("composite, both ways", m, lambda backend: blend(samples, alpha, rgb, backend)),
        compare("distortion, both ways", m, lambda backend: distort(samples, weights, backend)),
    ]
    poses = look_at(rays[0][:100], torch.zeros(3), torch.tensor([0.0, 0.0, 1.0]))
    camera = make_camera(poses, 400, 400, 555.0)
    single = measure(
        {
            "pack bricks of 128^3": lambda: pack_bricks(occupied),
            "cells seen by 100 views": lambda: seen_cells(*camera, BOX, 1, RESOLUTION),
        },
        repeats=5,
    )
    rows += [Row(time.name, 0, time.median, time.cpu, float("nan"), float("nan")) for time in single.values()]
    settings = {"rays": n_rays, "steps": n_steps, "occupied": round(float(occupied.float().mean()), 4)}
    report("render_kernels", settings, rows)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main(*(int(argument) for argument in sys.argv[1:]))
