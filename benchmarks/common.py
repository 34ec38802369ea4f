"""What every benchmark needs: timing in rotation, a description of the machine, one table and the same as JSON."""

import logging
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numba
import torch

from nerfcomp.evaluation.report import format_table, write_json

logger = logging.getLogger("benchmark")
FOLDER = Path("runs/benchmarks")


class Timing(NamedTuple):
    """Milliseconds of one case; ``cpu`` adds up all threads and hardly grows when other processes run."""

    name: str
    median: float
    fastest: float
    cpu: float


def measure(cases: Mapping[str, Callable[[], object]], repeats: int, warm_up: int = 1) -> dict[str, Timing]:
    """Time functions in rotation, so that whatever else runs on the machine disturbs all of them alike.

    Args:
        cases: Functions by name.
        repeats: Measured rounds.
        warm_up: Rounds before, which compile kernels and fill caches.

    Returns:
        A timing per case, in the order of ``cases``.
    """
    walls: dict[str, list[float]] = {name: [] for name in cases}
    cpus: dict[str, list[float]] = {name: [] for name in cases}
    for repeat in range(warm_up + repeats):
        for name, case in cases.items():
            wall, cpu = time.perf_counter(), time.process_time()
            case()
            if repeat >= warm_up:
                walls[name].append(1e3 * (time.perf_counter() - wall))
                cpus[name].append(1e3 * (time.process_time() - cpu))
    return {
        name: Timing(name, statistics.median(walls[name]), min(walls[name]), statistics.median(cpus[name]))
        for name in cases
    }


def describe_machine() -> dict[str, Any]:
    """Say what the figures were measured on and how busy it was."""
    return {
        "cpu": cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 1),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numba": numba.__version__,
    }


def cpu_name() -> str:
    """Model name of the processor."""
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    return names[0].partition(":")[2].strip() if names else platform.processor()


def report(name: str, settings: Mapping[str, Any], rows: Sequence[tuple[Any, ...]]) -> Path:
    """Log NamedTuples of one kind as a table and write them with settings and machine to ``runs/benchmarks/``.

    Args:
        name: Name of the JSON file.
        settings: What was measured.
        rows: At least one.

    Returns:
        The JSON file.
    """
    fields: tuple[str, ...] = rows[0]._fields  # type: ignore[attr-defined]
    machine = describe_machine()
    logger.info(" ".join(f"{key}={value}" for key, value in {**settings, **machine}.items() if value is not None))
    logger.info(format_table(fields, rows))
    path = FOLDER / f"{name}.json"
    write_json(
        path, {"machine": machine, "settings": dict(settings), "results": [dict(zip(fields, row)) for row in rows]}
    )
    logger.info("written to %s", path)
    return path
