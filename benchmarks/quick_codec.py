"""Encode and decode one hash grid of full size: seconds, bytes and peak memory.

    python benchmarks/quick_codec.py [levels] [log2 entries]

The grid is Laplacian, 16 levels of 2^19 x 2 by default, once with nine of ten entries untouched (as on a trained scene)
and once full (worse than any scene). Writes runs/benchmarks/codec.json.
"""

import json
import logging
import os
import platform
import resource
import sys
import time
from pathlib import Path
from typing import NamedTuple

from nerfcomp.process import prepare_process

prepare_process()  # before torch is loaded
import numpy as np

from nerfcomp.codec import Container, Storage, decode, encode, from_bytes, to_bytes
from nerfcomp.codec.streams import DECODER

log = logging.getLogger("codec")
QP = -32
SCALE = 0.01


class Result(NamedTuple):
    """One row of the table; ``cpu`` seconds are what a quiet machine would show, whatever else runs now."""

    grid: str
    parameters: int
    fp32_bytes: int
    nfc_bytes: int
    encode_s: float
    encode_cpu_s: float
    decode_s: float
    decode_cpu_s: float
    native_s: float
    native_cpu_s: float
    peak_mb: int


def laplacian_grid(levels: int, entries: int, untouched: float) -> dict[str, np.ndarray]:
    """Levels of (entries, 2) float32, a share of whose entries is exactly zero."""
    rng = np.random.default_rng(0)
    grid = {}
    for level in range(levels):
        table = rng.laplace(0, SCALE, (entries, 2)).astype(np.float32)
        table[rng.random(entries) < untouched] = 0
        grid[f"levels.{level}.weight"] = table
    return grid


def measure(name: str, grid: dict[str, np.ndarray]) -> Result:
    """Encode to the bytes of a whole file; decode them with this package's decoder and with nncodec's native one."""
    field = {"class_path": "nerfcomp.fields.NGPField", "init_args": {}}
    start, cpu = time.perf_counter(), cpu_seconds()
    sections = encode(grid, {name: Storage(name.removesuffix(".weight"), QP) for name in grid})
    data = to_bytes(Container({"field": field}, sections))
    encoded, encoded_cpu = time.perf_counter(), cpu_seconds()
    decode(from_bytes(data))
    decoded, decoded_cpu = time.perf_counter(), cpu_seconds()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    os.environ[DECODER] = "native"
    decode(from_bytes(data), trust=True)
    del os.environ[DECODER]
    size = sum(table.size for table in grid.values())
    return Result(
        name,
        size,
        4 * size,
        len(data),
        encode_s=round(encoded - start, 2),
        encode_cpu_s=round(encoded_cpu - cpu, 2),
        decode_s=round(decoded - encoded, 2),
        decode_cpu_s=round(decoded_cpu - encoded_cpu, 2),
        native_s=round(time.perf_counter() - decoded, 2),
        native_cpu_s=round(cpu_seconds() - decoded_cpu, 2),
        peak_mb=peak,
    )


def cpu_seconds() -> float:
    """CPU time of this process and of its finished children."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def main(levels: int = 16, log2_entries: int = 19) -> None:
    """Measure, log one table and write it as JSON."""
    warm = laplacian_grid(1, 64, 0.5)
    measure("warm-up", warm)  # compiles the kernels when no cache is there
    results = [
        measure(f"{untouched:.0%} untouched", laplacian_grid(levels, 2**log2_entries, untouched))
        for untouched in (0.9, 0.0)
    ]
    log.info("  ".join(f"{name:>13}" for name in Result._fields))
    for result in results:
        log.info("  ".join(f"{value!s:>13}" for value in result))
    path = Path("runs/benchmarks/codec.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    machine = {"machine": platform.platform(), "numpy": np.__version__, "qp": QP}
    path.write_text(json.dumps({**machine, "results": [result._asdict() for result in results]}, indent=2))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main(*(int(argument) for argument in sys.argv[1:]))
