"""Damage small ``.nfc`` files in a thousand ways and count what happens; none may crash, hang or go unnoticed.

    python -m benchmarks.corruption [files damaged] [streams damaged behind a valid SHA-256]

The second kind reaches the decoder of NNC. Writes runs/benchmarks/corruption.json.
"""

import json
import logging
import resource
import sys
import time
from collections import Counter
from pathlib import Path

from nerfcomp.process import prepare_process

prepare_process()  # before torch is loaded
import numpy as np

from nerfcomp.codec import decode, from_bytes, to_bytes
from nerfcomp.errors import ContainerError
from tests.codec.samples import Corruption, container, damaged_files, rehashed_streams, scaled_container

log = logging.getLogger("corruption")


def outcome(corruption: Corruption, original: dict[str, np.ndarray], data: bytes) -> str:
    """Decode one damaged file as a user would and say what came of it."""
    if corruption.data == data:
        return "unchanged"
    try:
        decoded = decode(from_bytes(corruption.data))
    except ContainerError:
        return "refused"
    except Exception as error:
        return f"ESCAPED {type(error).__name__}"
    whole = {name: value.shape for name, value in decoded.items()} == {n: v.shape for n, v in original.items()}
    if not corruption.rehashed or not whole:
        return "UNNOTICED"
    return "other values" if all(np.isfinite(value).all() for value in decoded.values()) else "UNNOTICED"


def main(files: int = 1000, streams: int = 200) -> None:
    """Try all, log one table and write it as JSON; fail if anything got through."""
    counts: dict[str, Counter[str]] = {}
    slowest = 0.0
    for seed, intact in ((1, container()), (2, scaled_container())):
        data, original = to_bytes(intact), decode(intact)
        for corruption in (*damaged_files(data, files // 2, seed), *rehashed_streams(data, streams // 2, seed)):
            start = time.perf_counter()
            kind = corruption.kind + (", hash valid" if corruption.rehashed else "")
            counts.setdefault(kind, Counter())[outcome(corruption, original, data)] += 1
            slowest = max(slowest, time.perf_counter() - start)
    columns = ["refused", "other values", "unchanged"]
    columns += sorted({name for counter in counts.values() for name in counter} - set(columns))
    log.info("  ".join([f"{'damage':40}", *(f"{column:>12}" for column in columns)]))
    for kind, counter in sorted(counts.items()):
        log.info("  ".join([f"{kind:40}", *(f"{counter[column]:12}" for column in columns)]))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    log.info("slowest answer %.1f s, peak memory %.0f MB", slowest, peak)
    path = Path("runs/benchmarks/corruption.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"counts": counts, "slowest_s": slowest, "peak_mb": peak}, indent=2))
    if len(columns) > 3:
        sys.exit(1)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main(*(int(argument) for argument in sys.argv[1:]))
