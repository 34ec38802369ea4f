"""A capture as a phone takes it: a still life in a walled garden, seen from within, all pixels opaque.

python benchmarks/capture_scene.py runs/capture     # writes transforms.json and its images
"""

import argparse
import json
import logging
import math
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from nerfcomp.process import prepare_process

prepare_process()  # before torch is loaded
import torch
from PIL import Image
from torch import Tensor

from nerfcomp.files import atomic_write
from nerfcomp.geometry.cameras import Camera, make_camera
from nerfcomp.geometry.paths import look_at
from nerfcomp.readers.procedural import ProceduralReader
from nerfcomp.readers.solids import Solid

logger = logging.getLogger("capture_scene")
HEIGHT, WIDTH, VIEWS = 270, 480, 40
_SKY, _HAZE = (0.35, 0.55, 0.85), (0.80, 0.86, 0.92)  # overhead and at the horizon
_GRASS, _LEAF, _BRICK, _MORTAR = (0.10, 0.22, 0.04), (0.30, 0.42, 0.08), (0.42, 0.12, 0.06), (0.62, 0.56, 0.48)
_GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))


def garden() -> tuple[Solid, ...]:
    """Ground, four walls, trees and a hut, which stand around a table of radius 1."""
    ground = Solid("box", (0, 0, -0.75), (5.0, 5.0, 0.1), (_GRASS, _LEAF), "marble", 2.0, specular=0.0)
    walls = [
        Solid("box", (4.9 * x, 4.9 * y, 0.4), (5.0 if y else 0.1, 5.0 if x else 0.1, 1.2), (_BRICK, _MORTAR), "checker")
        for x, y in ((1, 0), (-1, 0), (0, 1), (0, -1))
    ]
    trunks = [Solid("cylinder", (x, y, 0.2), (0.15, 0.9, 0), (_BRICK, _GRASS), "swirl", 3.0) for x, y in _TREES]
    crowns = [Solid("sphere", (x, y, 1.6), (0.7, 0, 0), (_LEAF, _GRASS), "marble", 3.0) for x, y in _TREES]
    hut = Solid("box", (-3.2, 3.0, 0.1), (0.8, 0.7, 0.75), (_MORTAR, _BRICK), "stripes", 5.0, turn=(0, 0, 30))
    return (ground, *walls, *trunks, *crowns, hut)


_TREES = ((3.4, 3.2), (3.6, -2.4), (-3.3, -3.3), (0.3, -4.0))


class GardenReader(ProceduralReader):
    """The still life of `ProceduralReader` in a garden, with a sky above."""

    def __init__(self) -> None:
        super().__init__(supersampling=2)
        self.solids = (*self.solids, *garden())

    def phone(self) -> Camera:
        """Views from two walks around the table, at the height of a chest and of the eyes."""
        index = torch.arange(VIEWS)
        azimuth, height = _GOLDEN_ANGLE * index, 0.5 + 0.7 * (index % 2)
        origins = torch.stack([2.6 * azimuth.cos(), 2.6 * azimuth.sin(), height], 1).float()
        poses = look_at(origins, torch.tensor([0.0, 0.0, 0.1]), torch.tensor([0.0, 0.0, 1.0]))
        return make_camera(poses, HEIGHT, WIDTH, focal=0.75 * WIDTH)

    def photograph(self, camera: Camera, view: int) -> Tensor:
        """One view (H, W, 3) uint8, without transparency."""
        rgba = self.render(camera, view).float() / 255
        rows = torch.linspace(0, 1, HEIGHT).view(-1, 1, 1)
        sky = torch.lerp(torch.tensor(_SKY), torch.tensor(_HAZE), rows)
        return (255 * torch.lerp(sky.expand_as(rgba[..., :3]), rgba[..., :3], rgba[..., 3:])).round().to(torch.uint8)


def write_capture(root: Path) -> None:
    """Write all views and ``transforms.json``."""
    reader = GardenReader()
    camera, frames = reader.phone(), []
    for view, c2w in enumerate(camera.c2w):
        name = f"images/{view:03d}.png"
        with atomic_write(root / name) as path:
            Image.fromarray(reader.photograph(camera, view).numpy()).save(path, format="PNG")
        square = torch.cat([c2w, torch.tensor([[0.0, 0.0, 0.0, 1.0]])]).double()
        frames.append({"file_path": name, "transform_matrix": square.tolist()})
    fx, fy, cx, cy = camera.intrinsics[0].tolist()
    shared = {"fl_x": fx, "fl_y": fy, "cx": cx, "cy": cy, "w": WIDTH, "h": HEIGHT}
    with atomic_write(root / "transforms.json") as path:
        path.write_text(json.dumps({**shared, "frames": frames}, indent=1), encoding="utf-8")
    logger.info("%d views in %s", len(frames), root)


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    write_capture(options.root)


if __name__ == "__main__":
    main()
