"""A volume larger than memory should hold: made slab by slab, compressed, decoded to disk, with the peak of memory.

    python benchmarks/large_volume.py --folder FOLDER [--side 1024] [--minutes 1] [--target_ratio 10000]

``side``^3 values of uint8, waves and a few sharp shells, are written to ``FOLDER/large.npy`` (1 GiB at 1,024), then
``compress.py volume`` trains, encodes, decodes to disk and measures. Peak memory is the largest resident set of any of
its processes, pages of mapped files included. What is large is deleted in the end.
"""

import argparse
import json
import logging
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from nerfcomp.process import prepare_process

prepare_process()  # before torch is loaded
import numpy as np
from numpy.typing import NDArray

from benchmarks.common import report

logger = logging.getLogger("benchmark")
_WAVES, _FINEST, _SHELLS = 24, 12.0, 4  # waves; their finest, in periods per axis; spheres


class Row(NamedTuple):
    """One run; ``peak_gb`` in 10^9 bytes."""

    side: int
    volume_bytes: int
    bytes: int
    psnr: float
    steps: int
    seconds: float  # of the whole command
    decode_s: float
    peak_gb: float


def write_volume(path: Path, side: int, seed: int = 0) -> None:
    """Write waves and shells, one layer in memory at a time."""
    rng = np.random.default_rng(seed)
    at = np.linspace(0.0, 1.0, side, dtype=np.float32)
    periods = rng.uniform(0.5, _FINEST, (3, _WAVES, 1)).astype(np.float32)
    phases = rng.uniform(0.0, 2 * np.pi, (3, _WAVES, 1)).astype(np.float32)
    x, y, z = np.sin(2 * np.pi * periods * at + phases)
    x /= periods.max(0)  # coarse waves are the strong ones
    spheres = np.concatenate([rng.uniform(0.2, 0.8, (_SHELLS, 3)), rng.uniform(0.1, 0.3, (_SHELLS, 1))], 1)
    values = np.lib.format.open_memmap(path, "w+", np.uint8, (side, side, side))  # type: ignore[no-untyped-call]
    for layer in range(side):
        plane = 90.0 + 25.0 * (y * x[:, layer, None]).T @ z + _shells(spheres, at[layer], at)
        values[layer] = plane.clip(0, 255)
    values.flush()


def _shells(spheres: NDArray[np.float64], x: float, at: NDArray[np.float32]) -> NDArray[Any]:
    """What spheres add to a layer: 20 inside each of them."""
    inside: NDArray[Any] = np.zeros((len(at), len(at)), np.float32)
    for cx, cy, cz, radius in spheres:
        inside += ((at - cy)[:, None] ** 2 + (at - cz) ** 2 + (x - cx) ** 2) < radius**2
    return 20 * inside


def compressed(volume: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Run the command and read what it leaves."""
    out, options = volume.with_suffix(".nfc"), ("method", "minutes", "target_ratio")
    words = ["volume", volume, "--out", out, "--force", "true"]
    for name in options:
        words += [f"--{name}", getattr(arguments, name)]
    subprocess.run([sys.executable, ROOT / "compress.py", *map(str, words)], check=True)
    found: dict[str, Any] = json.loads((out.with_suffix(".run") / "results.json").read_text())
    return found


def main() -> None:
    """Make, compress, report, delete."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="For files of more than twice the volume.")
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--target_ratio", type=float, default=10000.0)
    parser.add_argument("--method", default="auto")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    volume = arguments.folder / "large.npy"
    started = time.perf_counter()
    write_volume(volume, arguments.side)
    logger.info("%s is written, in %.0f s", volume, time.perf_counter() - started)
    try:
        found = compressed(volume, arguments)
    finally:
        size = volume.stat().st_size
        volume.unlink()
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e9
    figures = {name: found[name] for name in ("bytes", "psnr", "steps", "seconds", "decode_s")}
    row = Row(side=arguments.side, volume_bytes=size, peak_gb=peak, **figures)
    shutil.rmtree(volume.with_suffix(".run") / "checkpoints", ignore_errors=True)
    report("large_volume", {key: str(value) for key, value in vars(arguments).items()}, [row])


if __name__ == "__main__":
    main()
