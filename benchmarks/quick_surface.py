"""A training step of surface fields: the hash grid by its kernels against plain torch, and the published networks.

python benchmarks/quick_surface.py [--points 65536] [--published 65536] [--repeats 3] [--authors NEUS]

A step evaluates distances, normals and colours, and differentiates colour, eikonal and curvature losses. Milliseconds
of wall and CPU time, and how many times as fast as plain torch. Writes runs/benchmarks/surface.json. With the folder of
a clone of github.com/Totoro97/NeuS, the authors' own modules take the same step, with the same weights.
"""

import argparse
import importlib
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from nerfcomp.process import prepare_process

prepare_process()  # before torch is loaded
import torch

from benchmarks.common import measure, report
from nerfcomp.fields import HashSurfaceField, NeuSField, SurfaceField
from nerfcomp.kernels.backends import Backend
from nerfcomp.rendering.surface_losses import curvature_loss, eikonal_loss


class Row(NamedTuple):
    """One line of the table; ``times`` compare with plain torch, by CPU time."""

    what: str
    median_ms: float
    cpu_ms: float
    times_cpu: float


def step(field: SurfaceField, points: int) -> Callable[[], None]:
    """One step on random points."""
    torch.manual_seed(0)
    x = torch.rand(points, 3) * 2 - 1
    d = torch.nn.functional.normalize(torch.randn(points, 3), dim=1)
    field.set_aabb(torch.tensor([[-1.0] * 3, [1.0] * 3]))
    dt = torch.full((points,), 0.01)

    def run() -> None:
        field.zero_grad()
        shade = field.shade(x, d, dt)
        loss = (shade.alpha.unsqueeze(1) * shade.rgb).mean() + eikonal_loss(shade.geometry.gradients)
        if shade.geometry.laplacian is not None:
            loss = loss + curvature_loss(shade.geometry.laplacian)
        loss.backward()

    return run


def authors_step(folder: Path, field: NeuSField, points: int) -> Callable[[], None]:
    """The step of `step` by the modules of the authors, with the weights of a field; the same loss."""
    sys.path.insert(0, str(folder))
    modules = importlib.import_module("models.fields")
    sdf = modules.SDFNetwork(3, 257, 256, 8, skip_in=[4], multires=6)
    color = modules.RenderingNetwork(256, "idr", 9, 3, 256, 4, multires_view=4)
    for network, ours in ((sdf, field.sdf_network), (color, field.color_network)):
        network.load_state_dict(ours.state_dict())
    torch.manual_seed(0)
    x = torch.rand(points, 3) * 2 - 1
    d = torch.nn.functional.normalize(torch.randn(points, 3), dim=1)
    inv_s, half = field.inv_s.detach(), 0.005

    def run() -> None:
        sdf.zero_grad(), color.zero_grad()
        out = sdf(x)
        gradients = sdf.gradient(x).squeeze(1)
        rgb = color(x, gradients, d, out[:, 1:])
        falling = -torch.relu(-(d * gradients).sum(1))
        before, after = (torch.sigmoid((out[:, 0] + side * falling * half) * inv_s) for side in (-1, 1))
        alpha = ((before - after + 1e-5) / (before + 1e-5)).clip(0, 1)
        ((alpha.unsqueeze(1) * rgb).mean() + ((gradients.norm(dim=1) - 1) ** 2).mean()).backward()

    return run


def hash_field(backend: Backend) -> SurfaceField:
    """The field of configs/neus/scan24.yaml."""
    return HashSurfaceField(levels=10, log2_table_size=18, finest_resolution=512, backend=backend)


def main(points: int, published: int, repeats: int, authors: Path | None) -> None:
    """Measure and report."""
    cases = {"plain torch": step(hash_field("torch"), points), "kernels": step(hash_field("auto"), points)}
    timings = list(measure(cases, repeats).values())
    if published:
        field = NeuSField()
        steps = {"published 8x256": step(field, published)}
        if authors is not None:
            steps["the authors' modules"] = authors_step(authors, field, published)
        timings += measure(steps, repeats if authors else 1, warm_up=0).values()
    rows = [Row(t.name, t.median, t.cpu, timings[0].cpu / t.cpu) for t in timings]
    report("surface", {"points": points, "published": published, "threads": torch.get_num_threads()}, rows)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description="Steps of surface fields.")
    parser.add_argument("--points", type=int, default=65536)
    parser.add_argument("--published", type=int, default=65536, help="samples of the published networks; 0 for none")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--authors", type=Path, help="clone of NeuS, whose modules take the same step")
    main(**vars(parser.parse_args()))
