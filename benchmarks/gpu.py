"""A GPU in one command: milliseconds per kernel, the training curve of lego 800x800, frames per second.

python benchmarks/gpu.py --scene data/blender/lego [--points 262144] [--seconds 10 30 60 120] [--batch-size 16384]

Kernels are compared with the torch reference on the same GPU, and the grid with tinycudann where that imports. Without
--scene only kernels are measured. Writes runs/benchmarks/gpu_kernels.json and gpu_training.json. Refuses without a GPU.
"""

import argparse
import logging
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from nerfcomp.process import prepare_process

prepare_process()  # before torch is loaded
import torch
from lightning import Callback, Trainer

from benchmarks.common import report
from nerfcomp.datamodules import RayDataModule
from nerfcomp.errors import NerfcompError
from nerfcomp.evaluation.views import evaluate_views
from nerfcomp.fields import NGPField
from nerfcomp.fields.tcnn import import_tinycudann
from nerfcomp.geometry.rays import image_rays
from nerfcomp.kernels.adam import AdamStep, adam_step
from nerfcomp.kernels.backends import Backend
from nerfcomp.kernels.composite import composite
from nerfcomp.kernels.hash_grid import grid_geometry, hash_encode
from nerfcomp.kernels.march import march
from nerfcomp.kernels.mlp import mlp
from nerfcomp.modules import RadianceFieldModule
from nerfcomp.readers import BlenderReader
from nerfcomp.rendering import OccupancySampler

REPEATS = 20


class Row(NamedTuple):
    """Milliseconds of one kernel, and how many times as fast as the torch reference."""

    kernel: str
    backend: str
    ms: float
    times: float


class Point(NamedTuple):
    """Where training stands after so many seconds of steps; frames are those of a whole view."""

    seconds: float
    steps: int
    psnr: float
    frames_per_second: float
    memory_mib: float


def gpu_name() -> str:
    """Name and driver of the GPU.

    Raises:
        NerfcompError: There is none.
    """
    if not torch.cuda.is_available():
        raise NerfcompError(
            "This benchmark needs an NVIDIA GPU and a CUDA build of torch, and found none. What runs on CPUs is "
            "measured by benchmarks/quick_hash_grid.py and benchmarks/quick_render_kernels.py."
        )
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        driver = subprocess.run(query, capture_output=True, text=True, check=True).stdout.split()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):
        driver = "unknown"
    return f"{torch.cuda.get_device_name()}, driver {driver}"


def milliseconds(run: Callable[[], object]) -> float:
    """Time of one call on the GPU, the mean of many after some that compile."""
    for _ in range(3):
        run()
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    for _ in range(REPEATS):
        run()
    end.record()
    torch.cuda.synchronize()
    return float(begin.elapsed_time(end)) / REPEATS


def kernel_cases(points: int, backend: Backend) -> dict[str, Callable[[], object]]:
    """Every kernel at the size of a training step of ``points`` samples, forward and backward where it has both."""
    torch.manual_seed(0)
    torch.set_default_device("cuda")
    geometry = grid_geometry(16, 19, 16, 1024)
    x, tables = torch.rand(points, 3), [torch.randn(rows, 2, requires_grad=True) for rows in geometry.entries]
    inputs, matrices = torch.randn(points, 32, requires_grad=True), [torch.randn(64, 32), torch.randn(16, 64)]
    weights = [matrix.requires_grad_() for matrix in matrices]
    rays = points // 32
    offsets, alpha = torch.arange(rays + 1) * 32, torch.rand(points, requires_grad=True)
    rgb, t = torch.rand(points, 3, requires_grad=True), torch.rand(points)
    box, occupied = torch.tensor([[-1.0] * 3, [1.0] * 3]), torch.rand(1, 128, 128, 128) < 0.05
    directions = torch.nn.functional.normalize(torch.randn(rays, 3), dim=1)
    bounds = torch.zeros(rays), torch.full((rays,), 9.0)
    state = [torch.randn(2**19, 2) for _ in range(3)] + [torch.rand(2**19, 2)]
    numbers = AdamStep(1e-2, 0.9, 0.99, 1e-15, 0.0, 10)
    torch.set_default_device("cpu")

    def grid() -> object:
        return torch.autograd.grad(hash_encode(x, tables, geometry, backend).sum(), tables)

    def network() -> object:
        return torch.autograd.grad(mlp(inputs, weights, backend).sum(), (inputs, *weights))

    def blend() -> object:
        return torch.autograd.grad(composite(alpha, rgb, t, offsets, backend=backend).rgb.sum(), (alpha, rgb))

    def walk() -> object:
        return march(-2 * directions, directions, *bounds, None, occupied, box, 0.004, 0.004, backend=backend)

    def adam() -> None:
        adam_step(state[0], state[1], state[2], state[3], numbers, backend)

    return {"hash grid": grid, "network": network, "compositing": blend, "march": walk, "Adam 2^20": adam}


def tcnn_case(points: int) -> Callable[[], object] | None:
    """The same hash grid by tinycudann, if it can be imported."""
    try:
        tcnn = import_tinycudann()
    except NerfcompError:
        return None
    settings = {"otype": "HashGrid", "n_levels": 16, "n_features_per_level": 2, "log2_hashmap_size": 19}
    grid = tcnn.Encoding(3, {**settings, "base_resolution": 16, "per_level_scale": (1024 / 16) ** (1 / 15)})
    x = torch.rand(points, 3, device="cuda")
    return lambda: torch.autograd.grad(grid(x).float().sum(), list(grid.parameters()))


def measure_kernels(points: int) -> list[Row]:
    """Milliseconds of every kernel by every backend."""
    reference = {name: milliseconds(run) for name, run in kernel_cases(points, "torch").items()}
    rows = [Row(name, "torch", ms, 1.0) for name, ms in reference.items()]
    for name, run in kernel_cases(points, "triton").items():
        ms = milliseconds(run)
        rows.append(Row(name, "triton", ms, reference[name] / ms))
    if (other := tcnn_case(points)) is not None:
        ms = milliseconds(other)
        rows.append(Row("hash grid", "tinycudann", ms, reference["hash grid"] / ms))
    return rows


class Curve(Callback):
    """Evaluate the test views at some times of training; the clock stands still meanwhile."""

    def __init__(self, seconds: list[float]) -> None:
        self.marks, self.points, self.paused = sorted(seconds), list[Point](), 0.0
        self.began = 0.0

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Begin to count after the first step, which compiles kernels."""
        if trainer.global_step == 1:
            torch.cuda.synchronize()
            self.began, self.paused = time.perf_counter(), 0.0

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Look at the views when a mark is reached; stop behind the last one."""
        if trainer.global_step % 50 or not self.began:
            return
        torch.cuda.synchronize()
        now = time.perf_counter()
        seconds = now - self.began - self.paused
        if seconds < self.marks[0]:
            return
        self.marks.pop(0)
        self.points.append(look(trainer, pl_module, seconds))
        self.paused += time.perf_counter() - now
        trainer.should_stop = not self.marks


def look(trainer: Trainer, module: RadianceFieldModule, seconds: float) -> Point:
    """PSNR over the test views, and frames per second of one."""
    data: Any = trainer.datamodule  # type: ignore[attr-defined]
    scene = data.split("test")
    with module.trained.evaluating() as trained:
        views = evaluate_views(trained, scene)
        rays = image_rays(scene.camera, 0, scene.near, scene.far, scene.ndc)
        frame = milliseconds(lambda: trained.render(rays))
    psnr = sum(view.psnr for view in views) / len(views)
    memory = torch.cuda.max_memory_allocated() / 2**20
    return Point(seconds, trainer.global_step, psnr, 1e3 / frame, memory)


def train(root: Path, seconds: list[float], batch_size: int, max_samples: int, steps: int) -> list[Point]:
    """Train lego at its full size."""
    sampler = OccupancySampler(cells_per_update=2**18)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR
    field = NGPField()
    module = RadianceFieldModule(field, sampler, scheduler=schedule, max_samples=max_samples)
    data = RayDataModule(BlenderReader(str(root)), batch_size=batch_size, steps_per_epoch=steps)
    curve = Curve(seconds)
    trainer = Trainer(
        max_steps=steps,
        accelerator="gpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        limit_val_batches=0,
        num_sanity_val_steps=0,
        callbacks=[curve],
        enable_model_summary=False,
    )
    trainer.fit(module, datamodule=data)
    return curve.points


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scene", type=Path, help="Folder of Synthetic-NeRF lego at 800x800.")
    parser.add_argument("--points", type=int, default=2**18)
    parser.add_argument("--seconds", type=float, nargs="+", default=[10.0, 30.0, 60.0, 120.0])
    parser.add_argument("--batch-size", type=int, default=2**14)
    parser.add_argument("--max-samples", type=int, default=2**18)
    parser.add_argument("--steps", type=int, default=20000, help="Of the schedule; the run ends with the last second.")
    options = parser.parse_args()
    gpu = gpu_name()
    report("gpu_kernels", {"gpu": gpu, "points": options.points}, measure_kernels(options.points))
    if options.scene is not None:
        settings = {"gpu": gpu, "batch_size": options.batch_size, "max_samples": options.max_samples}
        points = train(options.scene, options.seconds, options.batch_size, options.max_samples, options.steps)
        report("gpu_training", settings, points)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    try:
        main()
    except NerfcompError as error:
        sys.exit(f"Error: {error}")
