"""Rate-distortion curves, measured on decoded files."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from nerfcomp.artifacts.artifact import SceneArtifact
from nerfcomp.artifacts.kinds import of_scene
from nerfcomp.artifacts.nfc import encode_artifact, fp32_bytes, read_nfc, write_nfc
from nerfcomp.evaluation.figures import new_pyplot, save_figure
from nerfcomp.evaluation.identity import claim_rows, field_identity, scene_identity
from nerfcomp.evaluation.report import mean_result, write_csv
from nerfcomp.evaluation.views import evaluate_views
from nerfcomp.rate_control.allocator import Allocator
from nerfcomp.readers.scene import Scene


class SweepPoint(NamedTuple):
    """One encoded, decoded and measured file; a ``qp`` of 0 bytes ratio 1 is the field before encoding."""

    qp: str  # "fp32" for the field before encoding
    bytes: int
    ratio: float  # of the fp32 parameters to the file
    psnr: float  # dB, mean over the views
    ssim: float
    views: int


def read_points(path: Path) -> dict[str, SweepPoint]:
    """Read the points that an earlier sweep left behind, by QP; none when there is no file.

    Raises:
        ValueError: The file is no sweep.
    """
    if not path.exists():
        return {}
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    try:
        points = [
            SweepPoint(r["qp"], int(r["bytes"]), float(r["ratio"]), float(r["psnr"]), float(r["ssim"]), int(r["views"]))
            for r in rows
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not a sweep that can be continued ({error}); choose another folder.") from error
    return {point.qp: point for point in points}


def run_sweep(
    trained: SceneArtifact, scene: Scene, folder: Path, qps: Sequence[int], uniform: bool = False
) -> list[SweepPoint]:
    """Encode at every QP, decode the file, measure it; go on where an earlier sweep of the same stopped.

    Args:
        trained: The field.
        scene: Views to measure on.
        folder: Gets ``sweep.csv``, ``sweep.json`` that says what it was measured on, and one ``.nfc`` per QP.
        qps: Qualities.
        uniform: Give every tensor the same QP.

    Returns:
        The field before encoding, then the points by rising QP.

    Raises:
        NerfcompError: The folder holds a sweep of another field, of other views or of another plan.
    """
    trained = trained.for_coding()
    identity = {"checkpoint": field_identity(trained), "views": scene_identity(scene), "uniform": uniform}
    claim_rows(folder / "sweep.json", identity, [folder / "sweep.csv"])
    known = read_points(folder / "sweep.csv")
    allocator: Allocator | None = None
    original = fp32_bytes(trained)
    for key in ["fp32", *map(str, sorted(qps))]:
        if key in known:
            continue
        subject, size = trained, original
        if key != "fp32":
            allocator = allocator or Allocator(trained, uniform)
            path = folder / f"qp{key}.nfc"
            size = write_nfc(
                encode_artifact(trained, allocator.allocate(int(key)), {"qp": int(key), "uniform": uniform}), path
            )
            subject = of_scene(read_nfc(path, trust=True), "Views show")
        mean = mean_result(evaluate_views(subject, scene, f"qp {key}"))
        known[key] = SweepPoint(key, size, original / size, mean.psnr, mean.ssim, mean.views)
        write_csv(folder / "sweep.csv", in_order(known))
    return in_order(known)


def in_order(points: dict[str, SweepPoint]) -> list[SweepPoint]:
    """The unencoded field first, then by rising QP."""
    return sorted(points.values(), key=lambda point: -1000 if point.qp == "fp32" else int(point.qp))


def plot_sweep(points: Sequence[SweepPoint], path: Path) -> None:
    """Draw PSNR against bytes as a PNG, and as a PDF beside it."""
    pyplot = new_pyplot()
    from matplotlib import ticker

    coded = [point for point in points if point.qp != "fp32"]
    figure, axes = pyplot.subplots(figsize=(6.4, 4.2), dpi=120, layout="constrained")
    axes.plot([p.bytes / 1000 for p in coded], [p.psnr for p in coded], marker="o", label="decoded file")
    for point in coded:
        label = f"QP {point.qp}, {point.ratio:.0f}x"
        place = (point.bytes / 1000, point.psnr)
        axes.annotate(label, place, (2, -4), textcoords="offset points", fontsize=8, rotation=-40, va="top")
    for point in points:
        if point.qp == "fp32":
            axes.axhline(point.psnr, color="grey", linestyle="--", label=f"fp32, {point.bytes / 1e6:.1f} MB")
    axes.set(xscale="log", xlabel="file size (kB, everything counted)", ylabel=f"PSNR (dB, {points[0].views} views)")
    axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1.0, 1.5, 2.0, 3.0, 5.0, 7.0)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(ticker.NullLocator())
    axes.margins(x=0.16, y=0.24)  # room for the words beside the last point and below the lowest
    axes.set_title("Rate and distortion of decoded files", fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    save_figure(figure, path)
