"""Damage files as somebody would who wants to harm, read them as a user would, and count what happens.

    python -m benchmarks.fuzz nfc [--count 100000] [--seed 0] [--seconds 1200]
    python -m benchmarks.fuzz checkpoints [--count 20000] ...
    python -m benchmarks.fuzz scenes [--count 2000] ...
    python -m benchmarks.fuzz streams [--count 100000] ...

``nfc``: headers and sections behind a valid SHA-256, from the file to a picture. ``checkpoints``: descriptions, states,
pickled payloads, bytes. ``scenes``: transforms files and images, from disk to rays. ``streams``: NNC bitstreams, by
this package's decoder and by nncodec's native one; where both decode, they must agree bit for bit. All cases run in
forked workers that are limited to 1 GiB more than they begin with; what takes ten seconds of the processor is stopped.
A worker that dies is a fault, unless the native decoder took it down. Counts in capitals are faults and make the status
1. Writes runs/benchmarks/fuzz_<what>_<seed>.json.
"""

import argparse
import json
import logging
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("NUMBA_THREADING_LAYER", "workqueue")  # outlives a fork
from nerfcomp.process import prepare_process

prepare_process()  # before torch is loaded
import torch

from benchmarks import fuzz_cases, fuzz_streams
from nerfcomp.errors import NerfcompError

log = logging.getLogger("fuzz")
SECONDS = 10
MEMORY = 2**30
PER_WORKER = 250
COUNTS = {"nfc": 100_000, "checkpoints": 20_000, "scenes": 2_000, "streams": 100_000}
Case = Callable[[random.Random, Path], str]


class TooSlowError(BaseException):
    """A case took longer than it may."""


def limit_worker() -> None:
    """Limit memory, and let the clock stop slow cases."""

    def stop(*_: object) -> None:
        raise TooSlowError

    signal.signal(signal.SIGPROF, stop)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def outcome(case: Case, seed: int, folder: Path) -> tuple[str, str]:
    """Run one case; what came of it, and the traceback where one escaped."""
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        return case(random.Random(seed), folder), ""
    except NerfcompError:
        return "refused", ""
    except TooSlowError:
        return "SLOW", traceback.format_exc(limit=-6)
    except MemoryError:
        return "MEMORY", traceback.format_exc(limit=-6)
    except Exception as error:
        memory = "allocate memory" in str(error) or "alloc" in str(error)
        return "MEMORY" if memory else f"ESCAPED {type(error).__name__}", traceback.format_exc(limit=-6)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def run_worker(case: Case, seeds: range, folder: Path, pipe: int) -> None:
    """Run cases in a forked process, reporting each."""
    limit_worker()
    with os.fdopen(pipe, "w") as sink:
        for seed in seeds:
            start = time.process_time()
            what, trace = outcome(case, seed, folder)
            seconds = time.process_time() - start
            sink.write(json.dumps([seed, what, round(seconds, 3), trace]) + "\n")
            sink.flush()
    os._exit(0)


def run_portion(case: Case, seeds: range, folder: Path) -> list[list[Any]]:
    """Fork a worker for some seeds, and another one after each that dies."""
    rows: list[list[Any]] = []
    while len(seeds):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            run_worker(case, seeds, folder, writing)
        os.close(writing)
        with os.fdopen(reading) as source:
            rows += [json.loads(line) for line in source]
        status = os.waitpid(child, 0)[1]
        done = rows[-1][0] + 1 if rows and rows[-1][0] >= seeds[0] else seeds[0]
        if done < seeds.stop and status:
            native = fuzz_streams.native_began(folder)
            rows.append([done, "refused, the native one dies" if native else f"DIED {status}", 0.0, ""])
            done += 1
        seeds = range(done, seeds.stop)
    return rows


def main() -> None:
    """Run all cases, log a table, write it; fail if anything but answers came."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=sorted(COUNTS))
    parser.add_argument("--count", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=1200.0)
    options = parser.parse_args()
    count = options.count or COUNTS[options.what]
    torch.set_num_threads(1)
    counts, slowest, shown, start = Counter[str](), 0.0, Counter[str](), time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        case = fuzz_cases.prepare(options.what, Path(name))
        for first in range(options.seed, options.seed + count, PER_WORKER):
            rows = run_portion(case, range(first, min(first + PER_WORKER, options.seed + count)), Path(name))
            for seed, what, seconds, trace in rows:
                counts[what] += 1
                slowest = max(slowest, seconds)
                if what[0].isupper() and shown[what] < 5:
                    shown[what] += 1
                    log.info("seed %d: %s\n%s", seed, what, trace)
            if time.monotonic() - start > options.seconds:
                break
    log.info("%s: %s cases, %s, slowest %.1f s", options.what, f"{sum(counts.values()):,}", dict(counts), slowest)
    path = Path(f"runs/benchmarks/fuzz_{options.what}_{options.seed}.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    result = {"cases": sum(counts.values()), "seed": options.seed, "counts": counts, "slowest_s": slowest}
    path.write_text(json.dumps(result, indent=2))
    if any(what[0].isupper() for what in counts):
        sys.exit(1)  # faults


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("nerfcomp").setLevel(logging.ERROR)
    main()
