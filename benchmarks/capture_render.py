"""Time per pixel of an unbounded capture beside that of an object, in rotation, and what a ray costs.

python benchmarks/capture_scene.py runs/capture
python train.py fit --config configs/ngp/capture.yaml --data.reader.root runs/capture
python benchmarks/capture_render.py runs/ngp_lego/version_0/checkpoints/last.ckpt runs/ngp_capture
"""

import argparse
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from nerfcomp.process import prepare_process

prepare_process()  # before torch is loaded
import torch

from benchmarks.common import measure, report
from nerfcomp.artifacts.kinds import of_kind
from nerfcomp.artifacts.radiance_field import RadianceFieldArtifact
from nerfcomp.artifacts.reading import read_artifact
from nerfcomp.geometry.cameras import select_views


class Picture(NamedTuple):
    """One view of one field.

    Attributes:
        field: ``object`` or ``capture``.
        size: Rows and columns.
        seconds: CPU time of one view, all threads together.
        microseconds: The same per pixel.
        placed: Samples placed per ray.
        shaded: Samples per ray that the field is asked for.
        ratio: Time per pixel over that of the object.
    """

    field: str
    size: str
    seconds: float
    microseconds: float
    placed: float
    shaded: float
    ratio: float


def samples_per_ray(trained: RadianceFieldArtifact, draw: Callable[[], object], pixels: int) -> tuple[float, float]:
    """How many samples are placed and shaded for every ray of a view."""
    placed, shaded, shade = [], [], trained.field.shade

    def counted(x: torch.Tensor, d: torch.Tensor, dt: torch.Tensor) -> object:
        shaded.append(len(x))
        return shade(x, d, dt)

    hook = trained.sampler.register_forward_hook(lambda module, given, samples: placed.append(len(samples.t)))
    trained.field.shade = counted  # type: ignore[method-assign, assignment]
    draw()
    hook.remove()
    del trained.field.shade
    return sum(placed) / pixels, sum(shaded) / pixels


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("object", type=Path, help="checkpoint or run of an object")
    parser.add_argument("capture", type=Path, help="checkpoint or run of an unbounded capture")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    cases: dict[str, Callable[[], object]] = {}
    sizes, counts = {}, {}
    for name in ("object", "capture"):
        trained = of_kind(read_artifact(getattr(options, name)), RadianceFieldArtifact, "Rays are counted in")
        camera = select_views(trained.scene.camera, [0])
        cases[name] = lambda trained=trained, camera=camera: trained.draw(camera)  # type: ignore[misc]
        sizes[name] = camera.height, camera.width
        counts[name] = samples_per_ray(trained, cases[name], camera.height * camera.width)
    times = {name: timing.cpu / 1e3 for name, timing in measure(cases, options.repeats).items()}
    each = {name: 1e6 * times[name] / (sizes[name][0] * sizes[name][1]) for name in cases}
    rows = [
        Picture(
            name, "x".join(map(str, sizes[name])), times[name], each[name], *counts[name], each[name] / each["object"]
        )
        for name in cases
    ]
    report("capture_render", {"repeats": options.repeats}, rows)


if __name__ == "__main__":
    main()
