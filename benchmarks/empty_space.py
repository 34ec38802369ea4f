"""Hierarchical rendering with and without what the networks say is empty: the same pictures, in a fraction of the time.

python benchmarks/empty_space.py --ckpt runs/nerf_lego_finish/version_0/checkpoints/last.ckpt --root LEGO --downscale 2
"""

import argparse
import logging
import sys
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from nerfcomp.process import prepare_process

prepare_process()  # before torch is loaded
import torch

from benchmarks.common import report
from nerfcomp.artifacts.artifact import SceneArtifact
from nerfcomp.artifacts.convention import as_trained
from nerfcomp.artifacts.reading import read_scene_artifact
from nerfcomp.evaluation.views import render_view, thinned, view_batches
from nerfcomp.geometry.rays import RayBatch
from nerfcomp.readers import BlenderReader
from nerfcomp.rendering.metrics import psnr


class Row(NamedTuple):
    """One view.

    Attributes:
        view: Its name.
        plain: PSNR without skipping, dB.
        skipping: PSNR with skipping, dB.
        change: Difference of the two, dB.
        apart: PSNR of one picture against the other, dB.
        seconds_plain: Seconds without skipping.
        seconds: Seconds with skipping.
        faster: Their ratio.
    """

    view: str
    plain: float
    skipping: float
    change: float
    apart: float
    seconds_plain: float
    seconds: float
    faster: float


def compare(plain: SceneArtifact, skipping: SceneArtifact, batch: RayBatch) -> Row:
    """Draw one view both ways."""
    (one, before), (two, after) = render_view(plain, batch), render_view(skipping, batch)
    apart = float(psnr(two.rgb.clamp(0, 1), one.rgb.clamp(0, 1)))
    times = (before.seconds, after.seconds, before.seconds / after.seconds)
    return Row(batch.name, before.psnr, after.psnr, after.psnr - before.psnr, apart, *times)


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ckpt", type=Path, required=True)
    parser.add_argument("--root", type=Path, required=True, help="folder of the scene")
    parser.add_argument("--downscale", type=int, default=1)
    parser.add_argument("--views", type=int, nargs="*", default=[0])
    parser.add_argument("--stride", type=int, default=1, help="draw every n-th row and column")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    scene = thinned(BlenderReader(arguments.root, arguments.downscale).read("test"), arguments.stride)
    plain, skipping = read_scene_artifact(arguments.ckpt), read_scene_artifact(arguments.ckpt)
    batches = view_batches(as_trained(scene, plain.scene), torch.tensor(plain.scene.background))
    start = time.perf_counter()
    skipping.prepare()
    settings = {"ckpt": str(arguments.ckpt), "stride": arguments.stride, "grid_s": time.perf_counter() - start}
    chosen = (batch for number, batch in enumerate(batches) if number in arguments.views)
    report("empty_space", settings, [compare(plain, skipping, batch) for batch in chosen])


if __name__ == "__main__":
    main()
