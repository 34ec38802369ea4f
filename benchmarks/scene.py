"""One real scene from training to decoded file: quality, seconds, bytes.

python benchmarks/scene.py --config configs/ngp/lego.yaml --root FOLDER            # trains, then measures
python benchmarks/scene.py --config ... --root FOLDER --ckpt runs/.../last.ckpt     # measures only
"""

import argparse
import logging
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from nerfcomp.process import prepare_process

prepare_process()  # before torch is loaded
import torch

import train
from benchmarks.common import report
from nerfcomp.artifacts.artifact import SceneArtifact
from nerfcomp.artifacts.nfc import fp32_bytes
from nerfcomp.artifacts.reading import read_scene_artifact
from nerfcomp.evaluation.report import mean_result
from nerfcomp.evaluation.sweep import plot_sweep, run_sweep
from nerfcomp.evaluation.views import evaluate_views
from nerfcomp.geometry.cameras import scaled, select_views
from nerfcomp.readers import Scene

DEFAULT_QPS = [-32, -28, -26, -24, -22, -20, -18, -16]


class Figure(NamedTuple):
    """One measured figure."""

    what: str
    value: float
    unit: str


class Curve(NamedTuple):
    """One point of a rate-distortion curve."""

    plan: str
    qp: str
    bytes: int
    smaller: float
    psnr: float
    drop: float


def fit(arguments: list[str]) -> Path:
    """Train; returns the checkpoint."""
    cli = train.main(["fit", *arguments])
    return Path(cli.trainer.log_dir or "") / "checkpoints" / "last.ckpt"


def training_figures(ckpt: Path) -> list[Figure]:
    """Seconds and steps that a checkpoint says its training took, validation included."""
    content = torch.load(ckpt, map_location="cpu", weights_only=True)
    seconds = [state["seconds"] for key, state in content["callbacks"].items() if key.startswith("Throughput")]
    return [Figure("training", sum(seconds), "s"), Figure("steps", content["global_step"], "")]


def render_figures(trained: SceneArtifact, scene: Scene) -> list[Figure]:
    """Seconds for one test view at the scene's size and at twice that size."""
    figures = []
    for factor in (1.0, 2.0):
        camera = scaled(scene.camera, factor)
        times = []
        for view in range(min(3, len(scene.names))):
            only = select_views(camera, [view])
            start = time.perf_counter()
            trained.draw(only)
            times.append(time.perf_counter() - start)
        figures.append(Figure(f"one view {camera.width}x{camera.height}", sorted(times)[len(times) // 2], "s"))
    return figures


def command_figures(ckpt: Path, qp: int) -> list[Figure]:
    """Seconds and peak memory of the commands, start of Python and all, each in a process of its own."""
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        file, back = Path(folder) / "scene.nfc", Path(folder) / "back.ckpt"
        for name, arguments in (
            ("encode", [ckpt, "--out", file, "--qp", qp]),
            ("decode", [file, "--out", back]),
        ):
            start = time.perf_counter()
            command = [sys.executable, str(ROOT / "compress.py"), name, *map(str, arguments)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            figures.append(Figure(f"compress.py {name}", time.perf_counter() - start, "s"))
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return [*figures, Figure("peak memory of both", peak, "MiB")]


def curves(trained: SceneArtifact, scene: Scene, folder: Path, qps: list[int]) -> list[Curve]:
    """Rate and distortion with one QP for all tensors, and with QPs by sensitivity."""
    rows = []
    for allocation in ("uniform", "by sensitivity"):
        points = run_sweep(trained, scene, folder / allocation.replace(" ", "_"), qps, allocation == "uniform")
        plot_sweep(points, folder / f"{allocation.replace(' ', '_')}.png")
        fp32 = points[0].psnr
        rows += [Curve(allocation, p.qp, p.bytes, p.ratio, p.psnr, fp32 - p.psnr) for p in points]
    return rows


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--root", type=Path, required=True, help="folder of the scene")
    parser.add_argument("--ckpt", type=Path, help="measure this instead of training")
    parser.add_argument("--qps", type=int, nargs="*", default=DEFAULT_QPS)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    reader_options = "--data.init_args.reader.init_args"
    arguments = ["--config", str(options.config), f"{reader_options}.root", str(options.root)]
    arguments += [f"{reader_options}.val_hold", "0"]  # all training views, as in published figures
    ckpt = options.ckpt or fit(arguments)
    trained = read_scene_artifact(ckpt)
    reader = train.main([*arguments], run=False).datamodule.reader
    scene = reader.read("test")
    mean = mean_result(evaluate_views(trained, scene))
    figures = [*training_figures(ckpt), Figure(f"PSNR, {mean.views} test views", mean.psnr, "dB")]
    figures += [Figure("SSIM", mean.ssim, ""), *render_figures(trained, scene)]
    figures += [Figure("fp32 parameters", fp32_bytes(trained), "bytes"), *command_figures(ckpt, -24)]
    name = options.config.stem
    settings = {"config": options.config, "steps": figures[1].value}
    report(name, {key: str(value) for key, value in settings.items()}, figures)
    if options.qps:
        folder = ckpt.parent.parent / "sweep"
        report(f"{name}_sweep", {"folder": str(folder)}, curves(trained, scene, folder, options.qps))


if __name__ == "__main__":
    os.environ.setdefault("MPLBACKEND", "Agg")
    main()
