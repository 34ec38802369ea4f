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

import nerfcomp  # isort: skip  # noqa: F401  # first: sets OpenMP's waiting before torch is loaded
import torch

from benchmarks.common import report
from nerfcomp.pipeline import TrainedField, read_trained
from nerfcomp.pipeline.evaluate import thinned
from nerfcomp.rays import image_rays
from nerfcomp.readers import BlenderReader, Scene
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


def draw(trained: TrainedField, scene: Scene, view: int) -> tuple[torch.Tensor, float]:
    """Colours (H W, 3) of one view, and the seconds they took."""
    known = trained.scene
    rays = image_rays(scene.camera, view, known.near, known.far, known.ndc)
    start = time.perf_counter()
    rgb = trained.render(rays).rgb.clamp(0, 1)
    return rgb, time.perf_counter() - start


def compare(plain: TrainedField, skipping: TrainedField, scene: Scene, view: int) -> Row:
    """Draw one view both ways."""
    background = torch.tensor(plain.scene.background)
    image = scene.images[view].flatten(0, 1).float() / 255
    truth = image[:, :3] * image[:, 3:] + background * (1 - image[:, 3:]) if scene.has_alpha else image
    (one, slow), (two, fast) = draw(plain, scene, view), draw(skipping, scene, view)
    first, second = float(psnr(one, truth)), float(psnr(two, truth))
    return Row(scene.names[view], first, second, second - first, float(psnr(two, one)), slow, fast, slow / fast)


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ckpt", type=Path, required=True)
    parser.add_argument("--root", type=Path, required=True, help="folder of the scene")
    parser.add_argument("--downscale", type=int, default=1)
    parser.add_argument("--views", type=int, nargs="*", default=[0])
    parser.add_argument("--stride", type=int, default=1, help="draw every so-manieth row and column")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    scene = thinned(BlenderReader(arguments.root, arguments.downscale).read("test"), arguments.stride)
    plain, skipping = read_trained(arguments.ckpt), read_trained(arguments.ckpt)
    start = time.perf_counter()
    skipping.learn_empty()
    settings = {"ckpt": str(arguments.ckpt), "stride": arguments.stride, "grid_s": time.perf_counter() - start}
    report("empty_space", settings, [compare(plain, skipping, scene, view) for view in arguments.views])


if __name__ == "__main__":
    main()
