"""Rate-distortion curves of a trained NGP: trained on as it is, and trained on for size at several costs of a bit.

    python benchmarks/rate_curve.py --ckpt CKPT --root FOLDER --config configs/rate/lego.yaml [--costs 4e-4 1e-3]

One cost of a bit per point and all else the same, the number of steps included; every file is decoded and measured on
the test views. ``--ablation`` trains at the first cost with one part after the other changed. Views that the reader of
``--config`` holds back are not trained on. Writes ``plain/sweep.csv``, ``trained.csv`` and ``curve.csv``, in the
columns of the survey 3DGS.zip (w-m/3dgs-compression-survey), under ``--out``; points that are there are kept.
"""

import argparse
import csv
import logging
import os
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from nerfcomp.process import prepare_process

prepare_process()  # before torch is loaded
import yaml

from benchmarks.common import report
from nerfcomp.artifacts.artifact import SceneArtifact
from nerfcomp.artifacts.checkpoint import write_checkpoint
from nerfcomp.artifacts.kinds import of_scene
from nerfcomp.artifacts.nfc import read_nfc, write_nfc
from nerfcomp.artifacts.reading import read_scene_artifact
from nerfcomp.commands.training import run_cli
from nerfcomp.errors import NerfcompError
from nerfcomp.evaluation.bdrate import RatePoint, bd_rate
from nerfcomp.evaluation.published import SurveyRow, survey_csv
from nerfcomp.evaluation.report import mean_result, write_csv
from nerfcomp.evaluation.sweep import run_sweep
from nerfcomp.evaluation.views import evaluate_views, thinned
from nerfcomp.files import atomic_write
from nerfcomp.rate_control.targets import RateTarget, encode_for

VARIANTS: dict[str, dict[str, Any]] = {
    "whole": {},
    "rounded from the start": {"noise": 0.0},
    "steps measured once": {"allocations": 1},
    "networks tuned to the tables": {"freeze": 0.8},
}
logger = logging.getLogger("benchmark")


class Point(NamedTuple):
    """One file and what it is worth."""

    curve: str
    setting: str
    bytes: int
    psnr: float
    ssim: float
    seconds: float  # of training for size


def overlay(arguments: argparse.Namespace, stage: dict[str, Any] | None, folder: Path) -> dict[str, Any]:
    """What a point changes of the configuration; without a stage the field trains on as it is."""
    rated = [] if stage is None else [{"class_path": "RateStage", "init_args": stage}]
    callbacks = ["RunProgressBar", *rated, "RunCheckpoint"]
    logs = {"class_path": "RunLogger", "init_args": {"name": folder.name, "save_dir": str(folder.parent)}}
    steps = {} if arguments.steps is None else {"max_steps": arguments.steps}
    data = {"init_args": {"reader": {"init_args": {"root": str(arguments.root)}}}}
    trainer = {"callbacks": callbacks, "logger": logs, "limit_val_batches": 0, **steps}
    hooks: dict[str, Any] = {} if rated else {"hooks": []}
    return {"trainer": trainer, "model": {"init_args": {"init_from": str(arguments.ckpt), **hooks}}, "data": data}


def trained(arguments: argparse.Namespace, name: str, stage: dict[str, Any] | None) -> SceneArtifact:
    """Train a point; the artifact."""
    config = arguments.out / f"{name}.yaml"
    with atomic_write(config) as temporary:
        temporary.write_text(yaml.safe_dump(overlay(arguments, stage, arguments.out / "runs" / name)))
    cli = run_cli(["fit", "--config", str(arguments.config), "--config", str(config)])
    return of_scene(cli.model.trained, "Views show")


def trained_on(arguments: argparse.Namespace) -> SceneArtifact:
    """The field after as many steps as for size; read again where an earlier call has trained it."""
    path = arguments.out / "plain.ckpt"
    if not path.exists():
        write_checkpoint(trained(arguments, "plain", None), path)
    return read_scene_artifact(path)


def trained_point(arguments: argparse.Namespace, scene: Any, name: str, stage: dict[str, Any]) -> Point:
    """Train for size, encode, decode, measure."""
    path, started = arguments.out / f"{name}.nfc", time.perf_counter()
    container = encode_for(trained(arguments, name, stage), RateTarget())
    seconds = time.perf_counter() - started
    size = write_nfc(container, path)
    mean = mean_result(evaluate_views(of_scene(read_nfc(path), "Views show"), scene, name))
    return Point("trained", name, size, mean.psnr, mean.ssim, seconds)


def known_points(path: Path) -> dict[str, Point]:
    """Points of an earlier call."""
    if not path.exists():
        return {}
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    return {
        r["setting"]: Point(
            r["curve"], r["setting"], int(r["bytes"]), *(float(r[key]) for key in ("psnr", "ssim", "seconds"))
        )
        for r in rows
    }


def survey_rows(points: list[Point]) -> list[SurveyRow]:
    """Rows of the survey's table."""
    return [SurveyRow(f"{point.curve} {point.setting}", point.psnr, point.ssim, point.bytes) for point in points]


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ckpt", type=Path, required=True)
    parser.add_argument("--root", type=Path, required=True, help="folder of the scene")
    parser.add_argument("--config", type=Path, default=ROOT / "configs" / "rate" / "lego.yaml")
    parser.add_argument("--costs", type=float, nargs="*", default=[4e-4, 1e-3, 3e-3, 8e-3])
    parser.add_argument("--qps", type=int, nargs="*", default=[-10, -8, -6, -4, -2])
    parser.add_argument("--steps", type=int, help="instead of those of the configuration")
    parser.add_argument("--stride", type=int, default=1, help="measure every n-th row and column")
    parser.add_argument("--ablation", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("runs/rate_curve"))
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    data = run_cli(["--config", str(arguments.config), "--data.reader.root", str(arguments.root)], run=False).datamodule
    scene = thinned(data.reader.read("test"), arguments.stride)
    plain = run_sweep(trained_on(arguments), scene, arguments.out / "plain", arguments.qps)
    before = [Point("plain", p.qp, p.bytes, p.psnr, p.ssim, 0.0) for p in plain if p.qp != "fp32"]
    stages = {f"lambda_{cost:g}": {"rd_lambda": cost} for cost in arguments.costs}
    if arguments.ablation:
        first = {"rd_lambda": arguments.costs[0]}
        stages = {name.replace(" ", "_"): first | changes for name, changes in VARIANTS.items()}
    after = known_points(arguments.out / "trained.csv")
    for name, stage in stages.items():
        if name not in after:
            after[name] = trained_point(arguments, scene, name, stage)
            write_csv(arguments.out / "trained.csv", list(after.values()))
    points = [*before, *after.values()]
    with atomic_write(arguments.out / "curve.csv") as temporary:
        temporary.write_text(survey_csv(survey_rows(points)))
    report("rate_curve", {"ckpt": str(arguments.ckpt), "stride": arguments.stride}, points)
    curves = [[RatePoint(float(p.bytes), p.psnr) for p in some] for some in (before, list(after.values()))]
    try:
        logger.info("trained against plain: %+.1f %% bytes, %.2f to %.2f dB", *bd_rate(*curves))
    except NerfcompError as error:
        logger.info("%s", error)


if __name__ == "__main__":
    os.environ.setdefault("MPLBACKEND", "Agg")
    main()
