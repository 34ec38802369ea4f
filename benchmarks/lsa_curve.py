"""Rate-distortion curves of a trained NeRF: the recipe of the first LSA tool against ours, with and without tuning.

    python benchmarks/lsa_curve.py --ckpt lego.tar --root FOLDER [--qps -32 -28 ...] [--n_iters 1000] [--epochs 2]

Recipes, both with dependent quantization and the same tuning steps: ``old`` gives every weight one QP, scales and
biases QP -75, and tunes scales only; ``ours`` spreads bits by what pictures feel, gives scales -48 and biases -44, and
tunes both. Every point is a file of its own, decoded and measured on the test views. Writes ``<out>/<recipe>.csv`` and
``<recipe>_untuned.csv``, which ``compress.py bdrate`` compares; points that are there already are kept, and a run that
was stopped goes on. Points of another checkpoint, of other views or of other settings are refused.
"""

import argparse
import hashlib
import logging
import os
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from nerfcomp.process import prepare_process

prepare_process()  # before torch is loaded
from benchmarks.common import report
from nerfcomp.artifacts.checkpoint import write_checkpoint
from nerfcomp.commands.lsa import LSARun
from nerfcomp.commands.lsa_files import LSAOptions, StageResult
from nerfcomp.errors import NerfcompError
from nerfcomp.evaluation.bdrate import bd_rate, read_curve
from nerfcomp.evaluation.identity import claim_rows, scene_identity
from nerfcomp.evaluation.report import write_csv
from nerfcomp.evaluation.sweep import SweepPoint, in_order, plot_sweep, read_points
from nerfcomp.rate_control.allocator import Allocator
from nerfcomp.rate_control.tuned_search import quantized_copy

RECIPES = {
    "old": {"uniform": True, "scale_qp": -75, "bias_qp": -75, "tune_biases": False},
    "ours": {"uniform": False, "scale_qp": -48, "bias_qp": -44, "tune_biases": True},
}
DEFAULT_QPS = [-32, -28, -26, -24, -22, -20, -18]
logger = logging.getLogger("benchmark")


class Row(NamedTuple):
    """One measured file."""

    curve: str
    qp: str
    bytes: int
    smaller: float
    psnr: float
    drop: float


def options_of(arguments: argparse.Namespace, recipe: str, qp: int) -> LSAOptions:
    """What a run of one point is asked for."""
    values = {
        **{"ckpt": str(arguments.ckpt), "root": str(arguments.root), "dataset_type": arguments.dataset_type},
        **{"nickname": recipe, "qp": qp, "lsa": True, "epochs": arguments.epochs, "n_iters": arguments.n_iters},
        **{"learning_rate": arguments.learning_rate, "learning_rate_decay": 0.1, "save_every": None},
        **{"batch_size": 4096, "target_bytes": None, "max_psnr_drop": None, "downscale": arguments.downscale},
        **{"test_stride": arguments.test_stride, "movie_frames": 0, "movie_scale": 1.0, "disparity": False},
        **RECIPES[recipe],
    }
    return LSAOptions(**values)


def curve_names() -> list[str]:
    """Curves of all recipes."""
    return [name for recipe in RECIPES for name in (f"{recipe}_untuned", recipe)]


def claim_out(arguments: argparse.Namespace) -> None:
    """Refuse a folder whose curves, or half finished points, belong to something else."""
    runs = {recipe: options_of(arguments, recipe, 0) for recipe in RECIPES}
    test = LSARun(arguments.out, next(iter(runs.values()))).test
    identity = {
        "checkpoint": hashlib.blake2b(arguments.ckpt.read_bytes(), digest_size=8).hexdigest(),
        "views": scene_identity(test),
        **{recipe: {**run._asdict(), "ckpt": None, "root": None} for recipe, run in runs.items()},
    }
    rows = [arguments.out / f"{name}.csv" for name in [*curve_names(), "fp32"]]
    claim_rows(arguments.out / "lsa_curve.json", identity, [*rows, *(arguments.out / recipe for recipe in RECIPES)])


def measure_recipe(arguments: argparse.Namespace, recipe: str) -> None:
    """Measure all points of one recipe that are not there yet."""
    allocator: Allocator | None = None
    for qp in sorted(arguments.qps):
        folder = arguments.out / recipe / f"qp{qp}"
        curves = {name: read_points(arguments.out / f"{name}.csv") for name in (recipe, f"{recipe}_untuned")}
        if all(str(qp) in points for points in curves.values()):
            continue
        run = LSARun(folder, options_of(arguments, recipe, qp))
        start = folder / "checkpoints" / "quantized.ckpt"
        if not start.exists():
            allocator = allocator or allocator_for(run)
            write_checkpoint(quantized_copy(allocator.trained, allocator.allocate(qp)), start)
        known = arguments.out / "fp32.csv"
        if known.exists():
            (folder / "evaluation").mkdir(parents=True, exist_ok=True)
            shutil.copy(known, folder / "evaluation" / known.name)
        fp32, quantized, tuned = run.run()
        shutil.copy(folder / "evaluation" / "fp32.csv", known)
        for name, stage in ((recipe, tuned), (f"{recipe}_untuned", quantized)):
            points = {**curves[name], "fp32": point("fp32", fp32, run), str(qp): point(str(qp), stage, run)}
            write_csv(arguments.out / f"{name}.csv", in_order(points))


def allocator_for(run: LSARun) -> Allocator:
    """Measure sensitivities once for all QPs of a recipe."""
    original = run.original()
    original.prepare()
    return Allocator(original, run.options.uniform, run.side)


def point(key: str, stage: StageResult, run: LSARun) -> SweepPoint:
    """A stage as a point of a sweep."""
    return SweepPoint(key, stage.bytes, stage.ratio, stage.psnr, stage.ssim, len(run.test.names))


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ckpt", type=Path, required=True)
    parser.add_argument("--root", type=Path, required=True, help="folder of the scene")
    parser.add_argument("--dataset_type", default="blender", choices=["blender", "llff"])
    parser.add_argument("--out", type=Path, default=Path("runs/lsa_curve"))
    parser.add_argument("--qps", type=int, nargs="*", default=DEFAULT_QPS)
    parser.add_argument("--recipes", nargs="*", default=list(RECIPES), choices=list(RECIPES))
    parser.add_argument("--n_iters", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--learning_rate", type=float, default=1e-3)
    parser.add_argument("--downscale", type=int)
    parser.add_argument("--test_stride", type=int, default=1, help="measure every n-th row and column")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    claim_out(arguments)
    for recipe in arguments.recipes:
        measure_recipe(arguments, recipe)
    names = curve_names()
    curves = {name: in_order(read_points(arguments.out / f"{name}.csv")) for name in names}
    rows = []
    for name, points in curves.items():
        if points:
            plot_sweep(points, arguments.out / f"{name}.png")
        rows += [Row(name, p.qp, p.bytes, p.ratio, p.psnr, points[0].psnr - p.psnr) for p in points]
    report("lsa_curve", {"ckpt": str(arguments.ckpt), "iterations": arguments.epochs * arguments.n_iters}, rows)
    for first, second in (("old_untuned", "old"), ("old", "ours"), ("ours_untuned", "ours")):
        try:
            saving = bd_rate(*(read_curve(arguments.out / f"{name}.csv") for name in (first, second)))
            logger.info("%s against %s: %+.1f %% bytes, %.1f to %.1f dB", second, first, *saving)
        except NerfcompError as error:
            logger.info("%s against %s: %s", second, first, error)


if __name__ == "__main__":
    os.environ.setdefault("MPLBACKEND", "Agg")
    main()
