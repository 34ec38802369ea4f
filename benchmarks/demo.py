"""The main job from nothing to a file: train, encode, decode, measure, film. ``make demo`` runs it.

Everything lands in one new folder ``runs/demo/version_<n>``; an interrupted demo goes on with ``--resume FOLDER``.
"""

import argparse
import logging
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from nerfcomp.process import prepare_process, show_messages

prepare_process()  # before torch is loaded
import torch

import train
from nerfcomp.artifacts.artifact import SceneArtifact
from nerfcomp.artifacts.reading import read_scene_artifact
from nerfcomp.callbacks.media import to_picture, write_mp4
from nerfcomp.evaluation.figures import Column, write_views
from nerfcomp.evaluation.report import format_table, mean_result, write_csv
from nerfcomp.evaluation.sweep import SweepPoint, plot_sweep, run_sweep
from nerfcomp.evaluation.views import evaluate_views, render_view, view_batches
from nerfcomp.geometry.cameras import select_views
from nerfcomp.readers import ProceduralReader, Scene

logger = logging.getLogger("demo")
QPS = (-28, -24, -20, -16, -12, -8, -4)
MOST_DROP = 0.1  # dB between the field in memory and the file that the table recommends
CALLBACKS = "[RunProgressBar, Throughput, ImageLogger, RunCheckpoint]"


def fit(max_steps: int, resume: Path | None) -> Path:
    """Train the embedded scene; returns the folder of the run."""
    args = ["fit", "--config", str(train.DEFAULT_CONFIG), "--trainer.logger.init_args.name", "demo"]
    args += ["--trainer.max_steps", str(max_steps), "--trainer.callbacks", CALLBACKS]
    if resume is not None:
        args += ["--ckpt_path", str(resume / "checkpoints" / "last.ckpt")]
    return Path(train.main(args).trainer.log_dir or "runs/demo")


def film(trained: SceneArtifact, reader: ProceduralReader, path: Path, n_frames: int) -> None:
    """Render a turntable from what was decoded."""
    camera = reader.path("auto", n_frames)
    size = (camera.height, camera.width)
    frames = (trained.draw(select_views(camera, [index])).rgb for index in range(n_frames))
    write_mp4(path, (to_picture(rgb, *size) for rgb in frames), fps=30)


def side_by_side(truth: Scene, columns: dict[str, SceneArtifact], path: Path, view: int = 0) -> None:
    """Draw one view: truth, then each field, with crops and differences."""
    background = torch.tensor(next(iter(columns.values())).scene.background)
    batch = list(view_batches(truth, background))[view]
    size = (batch.height, batch.width, 3)
    drawn = [Column(name, render_view(field, batch).rendered.rgb.view(size).numpy()) for name, field in columns.items()]
    write_views(path, batch.rgb.view(size).numpy(), drawn)


def recommended(points: list[SweepPoint]) -> SweepPoint:
    """The smallest file within the allowed drop; the best one when none is."""
    fp32 = next(point for point in points if point.qp == "fp32")
    coded = [point for point in points if point.qp != "fp32"]
    near = [point for point in coded if fp32.psnr - point.psnr <= MOST_DROP]
    return min(near, key=lambda point: point.bytes) if near else max(coded, key=lambda point: point.psnr)


def tested(artifact: SceneArtifact, test: Scene, point: SweepPoint) -> SweepPoint:
    """The point of a sweep on other views than those it was chosen on."""
    mean = mean_result(evaluate_views(artifact, test))
    return point._replace(psnr=mean.psnr, ssim=mean.ssim, views=mean.views)


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--max-steps", type=int, default=2000)
    parser.add_argument("--frames", type=int, default=90)
    parser.add_argument("--resume", type=Path, help="folder of an interrupted demo, runs/demo/version_<n>")
    options = parser.parse_args()
    show_messages(logging.StreamHandler(sys.stdout))
    logger.setLevel(logging.INFO)
    folder = fit(options.max_steps, options.resume)
    trained, reader = read_scene_artifact(folder / "checkpoints" / "last.ckpt"), ProceduralReader()
    validated = run_sweep(trained, reader.read("val"), folder / "sweep", QPS)
    plot_sweep(validated, folder / "rate_distortion.png")
    best = recommended(validated)
    shutil.copyfile(folder / "sweep" / f"qp{best.qp}.nfc", folder / "scene.nfc")
    decoded = read_scene_artifact(folder / "scene.nfc")
    test = reader.read("test")
    points = [tested(trained, test, validated[0]), tested(decoded, test, best)]
    side_by_side(test, {"field": trained, f"decoded, {best.bytes:,} bytes": decoded}, folder / "truth_fp32_decoded.png")
    film(decoded, reader, folder / "video.mp4", options.frames)
    write_csv(folder / "demo.csv", points)
    header = ["what", "PSNR dB", "SSIM", "bytes", "smaller"]
    names = ["fp32 parameters", f"decoded scene.nfc (QP {best.qp})"]
    rows = [[name, p.psnr, p.ssim, p.bytes, f"{p.ratio:.1f}x"] for name, p in zip(names, points)]
    logger.info("\n%s\n\nIn %s: scene.nfc, video.mp4, rate_distortion.png", format_table(header, rows), folder)


if __name__ == "__main__":
    main()
