"""Draw sizes and PSNR of files of lego at 800x800 beside what other methods published for this scene.

    python benchmarks/published_lego.py EVALUATION ... --other "vanilla NeRF" EVALUATION ... --out lego_full.png

An EVALUATION is a folder that `compress.py evaluate` wrote. Every `--other` draws a curve of its own, under the name
that comes first. Beside the picture lies a table of all our points, in the columns of the survey 3DGS.zip. Published
points are of all 200 test views: MaskDWT from its `results/nerf_synthetic.csv`, HAC++ and HAC from their results in
that survey, CATRF-JPEG from the data of its plots (one scene, which its configurations say is lego). Their bytes are
what their authors count, which for MaskDWT and HAC is not one file.
"""

import argparse
import csv
import logging
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from nerfcomp.process import prepare_process

prepare_process()  # before torch is loaded
from nerfcomp.errors import NerfcompError
from nerfcomp.evaluation.figures import new_pyplot, save_figure
from nerfcomp.files import atomic_write

PUBLISHED = {  # megabytes and dB of lego
    "MaskDWT 2023": [(0.787, 34.93), (1.114, 35.16), (1.647, 35.50)],
    "HAC 2024": [(1.314, 35.04), (1.997, 35.67)],
    "HAC++ 2025": [(0.844, 34.33), (1.917, 35.77)],
    "CATRF-JPEG 2026": [(0.341, 32.12), (0.498, 33.25), (0.628, 33.83), (0.788, 34.35), (1.078, 35.04)],
}
_STYLES = ("D-", "s--", "^:", "v-.")
logger = logging.getLogger("benchmark")


class File(NamedTuple):
    """One decoded file."""

    name: str
    megabytes: float
    psnr: float
    row: dict[str, str]  # of the evaluation's table


def read_file(folder: Path) -> File:
    """Read what an evaluation says of its file."""
    with open(folder / "3dgs_zip.csv", newline="") as table:
        (row,) = csv.DictReader(table)
    return File(row["Submethod"], int(row["Size [Bytes]"]) / 1e6, float(row["PSNR"]), row)


def draw(curves: dict[str, list[File]], path: Path) -> None:
    """Draw published points and ours, by the names of the curves."""
    figure, axes = new_pyplot().subplots(figsize=(7.5, 4.8), layout="constrained")
    for name, points in PUBLISHED.items():
        axes.plot(*zip(*points), marker="o", markersize=4, linewidth=1, alpha=0.7, label=name)
    for (name, files), style in zip(curves.items(), _STYLES):
        ours = sorted((each.megabytes, each.psnr) for each in files)
        axes.plot(*zip(*ours), style, color="black", linewidth=1.8, label=name)
    axes.set(xscale="log", xlabel="megabytes (10^6)", ylabel="PSNR in dB", title="Synthetic-NeRF lego, 800x800")
    axes.set_xticks([0.1, 0.2, 0.3, 0.5, 1.0, 2.0], ["0.1", "0.2", "0.3", "0.5", "1", "2"], minor=False)
    axes.set_xticks([], minor=True)
    axes.grid(alpha=0.3)
    axes.legend()
    save_figure(figure, path)


def write_table(curves: dict[str, list[File]], path: Path) -> None:
    """Write all our points in the columns of 3DGS.zip; a submethod is the curve and the file."""
    rows = [{**each.row, "Submethod": f"{name}: {each.name}"} for name, files in curves.items() for each in files]
    with atomic_write(path) as temporary, open(temporary, "w", newline="") as table:
        writer = csv.DictWriter(table, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("evaluations", type=Path, nargs="+")
    parser.add_argument("--other", nargs="+", action="append", default=[], metavar=("NAME", "EVALUATION"))
    parser.add_argument("--out", type=Path, default=Path("lego_full.png"))
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    logging.getLogger("fontTools").setLevel(logging.WARNING)
    folders = {"nerfcomp": arguments.evaluations} | {name: map(Path, rest) for name, *rest in arguments.other}
    curves = {name: [read_file(folder) for folder in found] for name, found in folders.items()}
    if not all(curves.values()) or len(curves) > len(_STYLES):
        raise NerfcompError(f"--other needs a name and evaluations, {len(_STYLES) - 1} times at most.")
    draw(curves, arguments.out)
    write_table(curves, arguments.out.with_suffix(".csv"))
    for name, files in curves.items():
        for each in files:
            logger.info("%s, %s: %.3f MB, %.2f dB", name, *each[:3])


if __name__ == "__main__":
    main()
