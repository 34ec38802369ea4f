"""Processor time of one whole test view, drawn by several forms of a field in rotation, band by band.

    python benchmarks/int8_picture.py FP32_CKPT calibrated.nfc ... --root LEGO [--downscale 2] [--view 0] [--bands 16]

All bands of a view make the picture that is drawn at once; what else the machine does slows all forms alike. A run that
was stopped goes on with the bands that lack: they are in runs/benchmarks/int8_picture.json. Finding out what is empty
comes before and is timed apart.
"""

import argparse
import itertools
import json
import logging
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from nerfcomp.process import prepare_process

prepare_process()  # before torch is loaded
import torch

from benchmarks.common import FOLDER, describe_machine
from nerfcomp.artifacts.convention import as_trained
from nerfcomp.artifacts.kinds import of_kind
from nerfcomp.artifacts.radiance_field import RadianceFieldArtifact
from nerfcomp.artifacts.reading import read_artifact
from nerfcomp.evaluation.report import format_table, write_json
from nerfcomp.evaluation.views import view_batches
from nerfcomp.geometry.rays import Rays
from nerfcomp.readers import BlenderReader

logger = logging.getLogger("benchmark")
PATH = FOLDER / "int8_picture.json"


class Row(NamedTuple):
    """One form of the field."""

    name: str
    bands: int
    seconds: float  # of the processor, for all bands
    ratio: float  # of the first form's seconds to these
    psnr: float


def draw_bands(forms: dict[str, RadianceFieldArtifact], options: argparse.Namespace, found: dict[str, Any]) -> None:
    """Draw the bands that ``found`` lacks, each by all forms, and write it after each band."""
    scene = BlenderReader(options.root, options.downscale).read("test")
    known = next(iter(forms.values())).scene
    views = view_batches(as_trained(scene, known), torch.tensor(known.background))
    batch = next(itertools.islice(views, options.view, None))
    parts = torch.arange(len(batch.rgb)).chunk(options.bands)
    for form in forms.values():  # compiles kernels
        form.render(Rays(*(value[:256] for value in batch.rays)), batch.background[:256])
    for number, part in enumerate(parts):
        for name, form in forms.items():
            bands = found.setdefault(name, {})
            if str(number) in bands:
                continue
            rays = Rays(*(value[part] for value in batch.rays))
            start = time.process_time()
            rgb = form.render(rays, batch.background[part]).rgb
            seconds = time.process_time() - start
            squares = float((rgb.clamp(0, 1) - batch.rgb[part]).square().sum())
            bands[str(number)] = {"seconds": seconds, "squares": squares, "values": rgb.numel()}
        write_json(PATH, found)
        logger.info("band %d of %d", number + 1, len(parts))


def table(found: dict[str, Any]) -> list[Row]:
    """Sums over bands."""
    rows = []
    first = 0.0
    for name, bands in found.items():
        total = {key: sum(band[key] for band in bands.values()) for key in ("seconds", "squares", "values")}
        first = first or total["seconds"]
        psnr = -10 * float(torch.tensor(total["squares"] / total["values"]).log10())
        rows.append(Row(name, len(bands), total["seconds"], first / total["seconds"], psnr))
    return rows


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("forms", nargs="+", type=Path, help="checkpoints and .nfc files of one field")
    parser.add_argument("--root", type=Path, required=True, help="folder of a Blender scene")
    parser.add_argument("--downscale", type=int, default=2)
    parser.add_argument("--view", type=int, default=0)
    parser.add_argument("--bands", type=int, default=16)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    found = json.loads(PATH.read_text()) if PATH.exists() else {}
    forms = {}
    with ExitStack() as stack:
        for path in options.forms:
            form = of_kind(read_artifact(path), RadianceFieldArtifact, "Pictures are drawn by")
            start = time.process_time()
            forms[str(path)] = stack.enter_context(form.evaluating())
            logger.info("%s: what is empty took %.1f s", path, time.process_time() - start)
        draw_bands(forms, options, found)
    logger.info("%s", describe_machine())
    logger.info(format_table(Row._fields, table(found)))


if __name__ == "__main__":
    main()
