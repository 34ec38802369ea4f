"""Bytes of the occupancy in ``.nfc`` files, beside what general compressors make of its bits.

python benchmarks/quick_occupancy.py runs/lego.nfc [...]      # without files: a ball on the finest of three grids
"""

import argparse
import bz2
import logging
import lzma
import sys
import zlib
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from nerfcomp.process import prepare_process

prepare_process()  # before torch is loaded
import numpy as np
from numpy.typing import NDArray

from benchmarks.common import report
from nerfcomp.artifacts.kinds import of_kind
from nerfcomp.artifacts.nfc import read_nfc
from nerfcomp.artifacts.radiance_field import RadianceFieldArtifact
from nerfcomp.codec.occupancy_coder import encode_occupancy


class Row(NamedTuple):
    """One grid: bytes."""

    file: str
    cells: int
    occupied: float
    ours: int
    lzma: int
    bz2: int
    zlib: int
    saved: float


def row(name: str, grid: NDArray[np.bool_]) -> Row:
    """Code a grid (C, R, R, R) in four ways; general compressors get eight cells a byte."""
    bits = np.packbits(grid).tobytes()
    ours = len(encode_occupancy(grid))
    best = len(
        lzma.compress(
            bits, format=lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME}]
        )
    )
    others = len(bz2.compress(bits, 9)), len(zlib.compress(bits, 9))
    return Row(name, grid.size, round(float(grid.mean()), 4), ours, best, *others, round(1 - ours / best, 3))


def ball() -> NDArray[np.bool_]:
    """A shell in a grid of 64^3 cells."""
    axis = np.linspace(-1, 1, 64)
    radius = np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2)
    return (np.abs(radius - 0.6) < 0.08)[None]


def main() -> None:
    """Measure and show the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="*")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    rows = [row("a ball", ball())]
    for path in options.files:
        trained = of_kind(read_nfc(path), RadianceFieldArtifact, "Occupancy is part of")
        rows.append(row(path.name, trained.sampler.occupied.numpy()))
    report("occupancy", {"files": len(options.files)}, rows)


if __name__ == "__main__":
    main()
