"""The hash grid against fV-SRN's latent grid: dB at equal bytes of whole files and at equal processor time.

    python benchmarks/volume_grids.py wmag91.npy egpbos_LCDM.npy [--ratio 120] [--seconds 40 120] [--points 16384]

Both are trained by what ``compress.py volume --method network`` trains by, with the rounding of their own file and the
same learning rates, on one thread. Steps follow from the time that a few tried ones take. Every file is decoded and
measured over all voxels; rows that are in ``grids.csv`` under ``--out`` are not measured again.
"""

import argparse
import csv
import logging
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from nerfcomp.process import prepare_process

prepare_process()  # before torch is loaded
import torch

from benchmarks.common import report
from nerfcomp.artifacts.kinds import of_kind
from nerfcomp.artifacts.nfc import decode_artifact
from nerfcomp.artifacts.volume import VolumeArtifact
from nerfcomp.callbacks.step_clock import StepClock
from nerfcomp.codec import to_bytes
from nerfcomp.commands.volume_training import Training, bytes_for_ratio, train_volume
from nerfcomp.evaluation.volumes import volume_quality
from nerfcomp.fields import LatentGridVolume, VolumeField
from nerfcomp.fields.volume_design import suited_field
from nerfcomp.rate_control.targets import RateTarget, encode_for
from nerfcomp.readers import Volume, volume_reader

logger = logging.getLogger("benchmark")
_TRIED, _SKIPPED = 16, 6  # steps that tell how long one takes
FIELDS: dict[str, Callable[[Volume, int], VolumeField]] = {
    "hash grid": lambda volume, size: suited_field(volume.values.shape, size),
    "latent grid": lambda volume, size: LatentGridVolume(),
    "latent grid, periodic": lambda volume, size: LatentGridVolume(border="periodic"),
}


class Row(NamedTuple):
    """One file."""

    volume: str
    field: str
    asked: float  # seconds of processor time
    steps: int
    points: int
    bytes: int
    ratio: float
    psnr: float
    seconds: float  # that training took


def step_seconds(given: Volume, training: Training) -> float:
    """Processor time of a step."""
    clock = StepClock(time.process_time)
    train_volume(given, training._replace(steps=_TRIED), [clock])
    return statistics.median(b - a for a, b in zip(clock.ends[_SKIPPED:-1], clock.ends[_SKIPPED + 1 :]))


def measured(given: Volume, name: str, asked: float, size: int, points: int) -> Row:
    """Train for so many seconds, encode, decode, compare."""

    def training(steps: int) -> Training:
        torch.manual_seed(0)
        return Training(size, steps, field=FIELDS[name](given, size), points=points)

    steps = max(_TRIED, int(asked / step_seconds(given, training(_TRIED))))
    started = time.process_time()
    container = encode_for(train_volume(given, training(steps)), RateTarget())
    seconds = time.process_time() - started
    decoded = of_kind(decode_artifact(container, trust=True), VolumeArtifact, "Volumes are decoded from")
    psnr = volume_quality(given.values, decoded.values(), ssim_every=1 << 30).psnr
    found = len(to_bytes(container))
    return Row(given.name, name, asked, steps, points, found, 4 * given.values.size / found, psnr, seconds)


def read_rows(path: Path) -> list[Row]:
    """What has been measured."""
    if not path.exists():
        return []
    kinds: list[Any] = [str, str, float, int, int, int, float, float, float]
    with open(path, newline="") as file:
        return [Row(*(kind(text) for kind, text in zip(kinds, row))) for row in list(csv.reader(file))[1:]]


def main() -> None:
    """Measure and tabulate."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("volumes", type=Path, nargs="+")
    parser.add_argument("--fields", nargs="+", default=["hash grid", "latent grid"], choices=list(FIELDS))
    parser.add_argument("--seconds", type=float, nargs="+", default=[40.0, 120.0])
    parser.add_argument("--ratio", type=float, default=120.0)
    parser.add_argument("--points", type=int, default=16384)
    parser.add_argument("--out", type=Path, default=Path("runs/volume_grids"))
    arguments = parser.parse_args()
    path = arguments.out / "grids.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    for file in arguments.volumes:
        given = volume_reader(file).read()._replace(name=file.stem)
        for asked in arguments.seconds:
            for name in arguments.fields:
                if any((row.volume, row.field, row.asked) == (given.name, name, asked) for row in read_rows(path)):
                    continue
                row = measured(given, name, asked, bytes_for_ratio(given, arguments.ratio), arguments.points)
                first = not path.exists()
                with open(path, "a", newline="") as out:
                    csv.writer(out).writerows([*([Row._fields] if first else []), row])
                logger.info("%s", row)
    report("volume_grids", {key: str(value) for key, value in vars(arguments).items()}, read_rows(path))


if __name__ == "__main__":
    main()
