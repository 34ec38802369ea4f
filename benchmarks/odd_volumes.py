"""Volumes of all kinds against SPERR, SZ3 and ZFP at equal bytes: small, flat, long, noisy, binary, almost constant.

    python benchmarks/odd_volumes.py [--ratio 60] [--method transform] [--minutes 0.5] [--only tiny "two rows"]

Every volume is made from a seed. Ours is the file of ``compress.py volume`` at the ratio, header and all; of the others
the smallest error that their streams reach in as many bytes, without the file around them (SPERR and SZ3: the chunk
inside HDF5). They are given float32 values. PSNR is 10 log10(range^2 / MSE) of values in the stored type. Needs the
extra ``volume-codecs``. Writes ``odd_volumes.csv`` and ``odd_volumes.md``.
"""

import argparse
import logging
import math
import sys
import tempfile
from collections.abc import Callable
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
from scipy.ndimage import gaussian_filter

from benchmarks.common import report
from nerfcomp.commands.volume import compress_volume
from nerfcomp.commands.volume_results import VolumeOptions
from nerfcomp.evaluation.report import format_table, write_csv
from nerfcomp.evaluation.volumes import volume_quality
from nerfcomp.readers import ProceduralVolume, ValueRange, value_range

logger = logging.getLogger("benchmark")
Array = NDArray[Any]
_TRIES = 14  # bisections of a codec's setting


class Row(NamedTuple):
    """One volume: bytes that all may take, and PSNR in dB; NaN where a codec has no file so small."""

    volume: str
    shape: str
    dtype: str
    bytes: int
    ours: float
    method: str
    sperr: float
    sz3: float
    zfp: float
    lead: float  # over the best of the others


def smooth(shape: tuple[int, int, int], seed: int = 0, finest: float = 4.0) -> Array:
    """Waves and a shell in (-1, 1)."""
    return ProceduralVolume(shape, "float32", seed, finest=finest, shells=1).read().values


def volumes() -> dict[str, Array]:
    """All kinds, by name."""
    rng = np.random.default_rng(7)
    spike = rng.normal(0, 1e-3, (48, 40, 56)).astype(np.float32)
    spike[20, 21, 22] = 100.0
    body = gaussian_filter(rng.normal(size=(96, 96, 64)), 6)
    ct = np.where(body > 0.01, 1000 + 4e4 * body, 24 + 40 * rng.random(body.shape))
    return {
        "smooth, int16": (2e4 * smooth((37, 64, 21))).astype(np.int16),
        "almost constant, one spike": spike,
        "white noise, uint8": rng.integers(0, 256, (48, 48, 48)).astype(np.uint8),
        "thin slab": (100 * smooth((512, 512, 3), finest=16.0)).astype(np.float32),
        "long": smooth((8, 8, 2000), finest=60.0),
        "binary mask": (gaussian_filter(rng.normal(size=(64, 64, 64)), 4) > 0.01).astype(np.uint8),
        "signed, large offset": (1_000_000 + 500 * smooth((40, 50, 60), 3)).astype(np.int32),
        "float64": smooth((50, 40, 30), 5).astype(np.float64) * 1e-12,
        "CT, uint16": ct.clip(0, 65535).astype(np.uint16),
        "turbulence": smooth((80, 80, 80), 9, 40.0),
        "tiny": smooth((9, 8, 7), 11),
        "two rows": smooth((2, 3, 500), 13, 40.0),
    }


def hdf5_stream(values: NDArray[np.float32], filter_: Any) -> tuple[int, Array]:
    """Bytes of the one chunk, and what it gives back."""
    with tempfile.TemporaryDirectory() as folder:
        with h5py.File(Path(folder) / "v.h5", "w") as file:
            file.create_dataset("v", data=values, chunks=values.shape, compression=filter_)
        with h5py.File(Path(folder) / "v.h5", "r") as file:
            return int(file["v"].id.get_storage_size()), np.asarray(file["v"][()])


def sperr(values: NDArray[np.float32], error: float) -> tuple[int, Array]:
    """SPERR at a PSNR that falls with the error; its filter takes the axes of a chunk in reverse order."""
    reverse = values.reshape(values.shape[::-1])  # the same numbers in the same order
    size, found = hdf5_stream(reverse, hdf5plugin.Sperr(peak_signal_to_noise_ratio=-20 * math.log10(error)))
    return size, found.reshape(values.shape)


def sz3(values: NDArray[np.float32], error: float) -> tuple[int, Array]:
    """SZ3 at a largest error, of the range."""
    return hdf5_stream(values, hdf5plugin.SZ3(absolute=error * float(np.ptp(values))))


def zfp(values: NDArray[np.float32], error: float) -> tuple[int, Array]:
    """ZFP at a tolerance, of the range."""
    data = zfpy.compress_numpy(values, tolerance=error * float(np.ptp(values)), write_header=False)
    whole = zfpy.compress_numpy(values, tolerance=error * float(np.ptp(values)), write_header=True)
    return len(data), np.asarray(zfpy.decompress_numpy(whole))


def best_within(codec: Callable[[NDArray[np.float32], float], tuple[int, Array]], truth: Array, most: int) -> float:
    """The best PSNR of a codec within so many bytes; NaN when it has no such file."""
    limits = value_range(truth)
    offset = float(limits.low)  # large offsets would cost the others the digits of float32
    values = np.ascontiguousarray(truth.astype(np.float64) - offset, np.float32)
    low, high, best = math.log(1e-7), math.log(0.9), math.nan
    for _ in range(_TRIES):
        middle = 0.5 * (low + high)
        try:
            size, found = codec(values, math.exp(middle))
        except (RuntimeError, OSError):  # SPERR refuses what it cannot split
            return math.nan
        if size > most:
            low = middle
            continue
        high = middle
        psnr = volume_quality(truth, stored(found + offset, truth, limits), ssim_every=1 << 30).psnr
        best = psnr if math.isnan(best) else max(best, psnr)
    return best


def stored(found: Array, truth: Array, limits: ValueRange) -> Array:
    """Round to the stored type, inside the true range."""
    found = np.clip(found, limits.low, limits.high)
    return (np.rint(found) if truth.dtype.kind != "f" else found).astype(truth.dtype)


def measured(name: str, truth: Array, arguments: argparse.Namespace) -> Row:
    """Ours beside the others."""
    most = int(4 * truth.size / arguments.ratio)
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "v.npy", truth)
        options = VolumeOptions(
            Path(folder) / "v.npy", target_bytes=most, method=arguments.method, minutes=arguments.minutes
        )
        ours = compress_volume(options, Path(folder) / "v.nfc")
    others = [best_within(codec, truth, max(most, ours["bytes"])) for codec in (sperr, sz3, zfp)]
    shape = "x".join(map(str, truth.shape))
    best = max([psnr for psnr in others if not math.isnan(psnr)], default=-math.inf)
    lead = 0.0 if best == ours["psnr"] else ours["psnr"] - best
    return Row(
        name,
        shape,
        truth.dtype.name,
        ours["bytes"],
        ours["psnr"],
        ours["method"],
        others[0],
        others[1],
        others[2],
        lead,
    )


def main() -> None:
    """Measure and tabulate."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ratio", type=float, default=60.0)
    parser.add_argument("--method", default="transform")
    parser.add_argument("--minutes", type=float, default=0.5)
    parser.add_argument("--only", nargs="+", default=list(volumes()), help="Names of volumes.")
    parser.add_argument("--out", type=Path, default=Path("runs/odd_volumes"))
    arguments = parser.parse_args()
    rows: list[Row] = []
    for name, truth in ((name, truth) for name, truth in volumes().items() if name in arguments.only):
        rows.append(measured(name, truth, arguments))
        logger.info("%s", rows[-1])
        write_csv(arguments.out / "odd_volumes.csv", rows)
    table = format_table(list(Row._fields), [list(row) for row in rows])
    (arguments.out / "odd_volumes.md").write_text(table + "\n")
    report("odd_volumes", {key: str(value) for key, value in vars(arguments).items()}, rows)


if __name__ == "__main__":
    main()
