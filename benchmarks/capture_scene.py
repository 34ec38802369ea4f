"""Captures as a phone takes them: a still life in a walled garden or in a room, seen from within, all pixels opaque.

python benchmarks/capture_scene.py runs/garden                   # writes transforms.json and its images
python benchmarks/capture_scene.py runs/room --place room

The room's pictures have a phone's faults: exposure that drifts from view to view and from the first row of a picture to
its last, noise, and the distortion of a lens, which ``transforms.json`` states.
"""

import argparse
import json
import logging
import math
import sys
from pathlib import Path
from typing import Literal

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
HEIGHT, WIDTH = 270, 480
Place = Literal["garden", "room"]
_SKY, _HAZE = (0.35, 0.55, 0.85), (0.80, 0.86, 0.92)  # overhead and at the horizon
_GRASS, _LEAF, _BRICK, _MORTAR = (0.10, 0.22, 0.04), (0.30, 0.42, 0.08), (0.42, 0.12, 0.06), (0.62, 0.56, 0.48)
_CREAM, _OCHRE, _TEAL, _NIGHT = (0.66, 0.60, 0.46), (0.52, 0.30, 0.08), (0.06, 0.30, 0.32), (0.08, 0.10, 0.24)
_SIDES = ((1, 0), (-1, 0), (0, 1), (0, -1))
_TREES = ((3.4, 3.2), (3.6, -2.4), (-3.3, -3.3), (0.3, -4.0))
_GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))
_LENS = (-0.08, 0.03, 0.0015, -0.001)  # k1, k2, p1, p2
_DRIFT, _ROLL, _NOISE = 0.05, 0.02, 0.01  # of the exposure by view and by row; standard deviation


def garden() -> tuple[Solid, ...]:
    """Ground, four walls, trees and a hut, which stand around a table of radius 1."""
    ground = Solid("box", (0, 0, -0.75), (5.0, 5.0, 0.1), (_GRASS, _LEAF), "marble", 2.0, specular=0.0)
    walls = [
        Solid("box", (4.9 * x, 4.9 * y, 0.4), (5.0 if y else 0.1, 5.0 if x else 0.1, 1.2), (_BRICK, _MORTAR), "checker")
        for x, y in _SIDES
    ]
    trunks = [Solid("cylinder", (x, y, 0.2), (0.15, 0.9, 0), (_BRICK, _GRASS), "swirl", 3.0) for x, y in _TREES]
    crowns = [Solid("sphere", (x, y, 1.6), (0.7, 0, 0), (_LEAF, _GRASS), "marble", 3.0) for x, y in _TREES]
    hut = Solid("box", (-3.2, 3.0, 0.1), (0.8, 0.7, 0.75), (_MORTAR, _BRICK), "stripes", 5.0, turn=(0, 0, 30))
    return (ground, *walls, *trunks, *crowns, hut)


def room() -> tuple[Solid, ...]:
    """Floor, papered walls, a ceiling around a skylight, a shelf, a column and a ball, around a table of radius 1."""
    floor = Solid("box", (0, 0, -0.75), (3.5, 3.5, 0.1), (_OCHRE, _CREAM), "marble", 2.5, specular=0.1)
    papers = ((_CREAM, _TEAL), (_CREAM, _BRICK), (_OCHRE, _NIGHT), (_CREAM, _LEAF))
    walls = [
        Solid("box", (3.4 * x, 3.4 * y, 0.9), (3.5 if y else 0.1, 3.5 if x else 0.1, 1.7), paper, "marble", 2.0 + k)
        for k, ((x, y), paper) in enumerate(zip(_SIDES, papers))
    ]
    ceiling = [
        Solid("box", (2.6 * x, 2.6 * y, 2.5), (3.4 if y else 0.8, 3.4 if x else 0.8, 0.1), (_CREAM, _OCHRE), "checker")
        for x, y in _SIDES
    ]
    shelf = Solid("box", (-2.9, 1.2, 0.2), (0.3, 0.8, 0.9), (_BRICK, _CREAM), "stripes", 4.0)
    column = Solid("cylinder", (2.5, 2.4, 0.9), (0.25, 1.6, 0), (_CREAM, _NIGHT), "swirl", 4.0)
    ball = Solid("sphere", (2.3, -2.2, -0.25), (0.4, 0, 0), (_TEAL, _CREAM), "checker", 5.0, specular=0.6)
    return (floor, *walls, *ceiling, shelf, column, ball)


class CaptureReader(ProceduralReader):
    """The still life of `ProceduralReader` in a garden or in a room.

    Args:
        place: Which of them.
        views: How many pictures are taken.
        supersampling: Rays per pixel and axis.
    """

    def __init__(self, place: Place = "garden", views: int = 50, supersampling: int = 2) -> None:
        super().__init__(supersampling=supersampling)
        self.place = place
        self.views = views
        self.solids = (*self.solids, *(garden() if place == "garden" else room()))

    def phone(self) -> Camera:
        """Views from two walks around the table, at the height of a chest and of the eyes."""
        index = torch.arange(self.views)
        azimuth, height = _GOLDEN_ANGLE * index, 0.5 + 0.7 * (index % 2)
        origins = torch.stack([2.6 * azimuth.cos(), 2.6 * azimuth.sin(), height], 1).float()
        poses = look_at(origins, torch.tensor([0.0, 0.0, 0.1]), torch.tensor([0.0, 0.0, 1.0]))
        lens = _LENS if self.place == "room" else (0.0, 0.0, 0.0, 0.0)
        return make_camera(poses, HEIGHT, WIDTH, focal=0.75 * WIDTH, distortion=lens)

    def photograph(self, camera: Camera, view: int) -> Tensor:
        """One view (H, W, 3) uint8, without transparency; the room's with a phone's faults."""
        rgba = self.render(camera, view).float() / 255
        rows = torch.linspace(0, 1, camera.height).view(-1, 1, 1)
        sky = torch.lerp(torch.tensor(_SKY), torch.tensor(_HAZE), rows)
        rgb = torch.lerp(sky.expand_as(rgba[..., :3]), rgba[..., :3], rgba[..., 3:])
        return (255 * (self.faulty(rgb, view) if self.place == "room" else rgb)).round().to(torch.uint8)

    def faulty(self, rgb: Tensor, view: int) -> Tensor:
        """Exposure that drifts over views and rows, and noise; (H, W, 3) in [0, 1] both."""
        rows = torch.linspace(-0.5, 0.5, len(rgb)).view(-1, 1, 1)
        gain = 1 + _DRIFT * math.sin(0.9 * view) + _ROLL * math.cos(0.7 * view) * rows
        noise = torch.randn(rgb.shape, generator=torch.Generator().manual_seed(view))
        return (gain * rgb + _NOISE * noise).clamp(0, 1)


def write_capture(root: Path, reader: CaptureReader) -> None:
    """Write all views and ``transforms.json``."""
    camera, frames = reader.phone(), []
    for view, c2w in enumerate(camera.c2w):
        name = f"images/{view:03d}.png"
        with atomic_write(root / name) as path:
            Image.fromarray(reader.photograph(camera, view).numpy()).save(path, format="PNG")
        square = torch.cat([c2w, torch.tensor([[0.0, 0.0, 0.0, 1.0]])]).double()
        frames.append({"file_path": name, "transform_matrix": square.tolist()})
    fx, fy, cx, cy = camera.intrinsics[0].tolist()
    lens = dict(zip(("k1", "k2", "p1", "p2"), camera.distortion[0].tolist()))
    shared = {"fl_x": fx, "fl_y": fy, "cx": cx, "cy": cy, "w": WIDTH, "h": HEIGHT, **lens}
    with atomic_write(root / "transforms.json") as path:
        path.write_text(json.dumps({**shared, "frames": frames}, indent=1), encoding="utf-8")
    logger.info("%d views in %s", len(frames), root)


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--place", choices=("garden", "room"), default="garden")
    parser.add_argument("--views", type=int, default=50)
    parser.add_argument("--supersampling", type=int, default=2, help="rays per pixel and axis; 1 takes two minutes")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    write_capture(options.root, CaptureReader(options.place, options.views, options.supersampling))


if __name__ == "__main__":
    main()
