"""Rate-distortion curves of SPERR, SZ3 and ZFP on volumes, beside files of ours.

    python benchmarks/volume_codecs.py VOLUME [VOLUME ...] [--ours ours.csv] [--out runs/volume_codecs]

A point is a whole file: HDF5 with one dataset for SPERR and SZ3 (hdf5plugin), the bare stream for ZFP (zfpy). Codecs
get float32 values; what they give back is rounded to the stored type and cut to the true range, as ours is. PSNR is
10 log10(range^2 / MSE). ``--ours`` names a CSV with the columns volume, float32_ratio and psnr, which
``compress.py volume`` appends to. Needs the extra ``volume-codecs``. Writes ``codecs.csv`` and ``codecs.png``.
"""

import argparse
import csv
import logging
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from nerfcomp.process import prepare_process

prepare_process()  # before torch is loaded
import h5py
import hdf5plugin
import numpy as np
import zfpy
from numpy.typing import NDArray

from benchmarks.common import report
from nerfcomp.evaluation.report import write_csv
from nerfcomp.evaluation.volume_plot import RatePoint, plot_rates
from nerfcomp.evaluation.volumes import volume_quality
from nerfcomp.readers import ValueRange, value_range, volume_reader

SPERR_PSNR = (10.0, 14.0, 18.0, 22.0, 26.0, 30.0, 34.0, 38.0, 42.0)  # it reaches more than it is asked for
SZ3_ERRORS = (0.3, 0.2, 0.14, 0.1, 0.07, 0.05, 0.03, 0.02, 0.01)  # largest error, of the range
ZFP_ERRORS = (2.0, 1.0, 0.5, 0.25, 0.125, 0.0625)
logger = logging.getLogger("benchmark")


class Row(NamedTuple):
    """One measured file."""

    volume: str
    codec: str
    setting: float
    bytes: int
    ratio: float  # against float32
    stored_ratio: float
    psnr: float
    ssim: float
    largest: float
    encode_s: float
    decode_s: float


def hdf5(path: Path, values: NDArray[np.float32], filter_: Any) -> None:
    """Write one dataset of one chunk through a filter."""
    with h5py.File(path, "w", libver="latest") as file:
        file.create_dataset("v", data=values, chunks=values.shape, compression=filter_)


def encode_sperr(path: Path, values: NDArray[np.float32], asked: float, limits: ValueRange) -> None:
    """SPERR towards a PSNR."""
    hdf5(path, values, hdf5plugin.Sperr(peak_signal_to_noise_ratio=asked))


def encode_sz3(path: Path, values: NDArray[np.float32], asked: float, limits: ValueRange) -> None:
    """SZ3 with a largest error relative to the range."""
    hdf5(path, values, hdf5plugin.SZ3(absolute=asked * (limits.high - limits.low)))


def encode_zfp(path: Path, values: NDArray[np.float32], asked: float, limits: ValueRange) -> None:
    """ZFP with a tolerance relative to the range."""
    path.write_bytes(zfpy.compress_numpy(values, tolerance=asked * (limits.high - limits.low), write_header=True))


def decode_hdf5(path: Path) -> NDArray[Any]:
    """Read the dataset."""
    with h5py.File(path, "r") as file:
        return np.asarray(file["v"][()])


def decode_zfp(path: Path) -> NDArray[Any]:
    """Expand the stream."""
    return np.asarray(zfpy.decompress_numpy(path.read_bytes()))


CODECS: dict[str, tuple[Any, Any, tuple[float, ...]]] = {
    "sperr": (encode_sperr, decode_hdf5, SPERR_PSNR),
    "sz3": (encode_sz3, decode_hdf5, SZ3_ERRORS),
    "zfp": (encode_zfp, decode_zfp, ZFP_ERRORS),
}


def measured(name: str, truth: NDArray[Any]) -> Iterator[Row]:
    """Every codec at every setting."""
    values, limits = np.ascontiguousarray(truth, np.float32), value_range(truth)
    for codec, (encode, decode, settings) in CODECS.items():
        for setting in settings:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "v"
                started = time.perf_counter()
                encode(path, values, setting, limits)
                encoded = time.perf_counter()
                found = decode(path)
                decoded, size = time.perf_counter(), path.stat().st_size
            found = as_stored(found, truth.dtype, limits)
            error = volume_quality(truth, found, ssim_every=4)
            ratio, times = 4.0 * truth.size / size, (encoded - started, decoded - encoded)
            row = Row(
                name, codec, setting, size, ratio, truth.nbytes / size, error.psnr, error.ssim, error.largest, *times
            )
            logger.info("%s %s %g: %d bytes, %.1f:1, %.2f dB", name, codec, setting, size, ratio, error.psnr)
            yield row


def as_stored(values: NDArray[Any], dtype: np.dtype[Any], limits: ValueRange) -> NDArray[Any]:
    """Cut values to the true range and round them to the stored type."""
    kept = np.clip(values, limits.low, limits.high)
    return (np.rint(kept) if dtype.kind in "iu" else kept).astype(dtype)


def read_ours(path: Path | None) -> dict[str, list[RatePoint]]:
    """Points of our files by volume."""
    points: dict[str, list[RatePoint]] = {}
    if path is None:
        return points
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            points.setdefault(row["volume"], []).append(RatePoint(float(row["float32_ratio"]), float(row["psnr"])))
    return points


def curves_of(rows: list[Row], ours: Mapping[str, list[RatePoint]]) -> dict[str, dict[str, list[RatePoint]]]:
    """Points by volume and codec."""
    curves: dict[str, dict[str, list[RatePoint]]] = {}
    for row in rows:
        curves.setdefault(row.volume, {}).setdefault(row.codec, []).append(RatePoint(row.ratio, row.psnr))
    for volume, points in ours.items():
        curves.setdefault(volume, {})["nerfcomp"] = points
    return curves


def main() -> None:
    """Measure, tabulate and draw."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("volumes", type=Path, nargs="+")
    parser.add_argument("--ours", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/volume_codecs"))
    arguments = parser.parse_args()
    rows: list[Row] = []
    for path in arguments.volumes:
        rows += measured(path.stem, volume_reader(path).read().values)
        write_csv(arguments.out / "codecs.csv", rows)
    plot_rates(curves_of(rows, read_ours(arguments.ours)), arguments.out / "codecs.png")
    report("volume_codecs", {"volumes": [str(path) for path in arguments.volumes]}, rows)


if __name__ == "__main__":
    main()
