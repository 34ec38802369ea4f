"""What ``compress.py search`` leaves behind: all trials, the front, and which setting mattered."""

import csv
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import spearmanr

from nerfcomp.evaluation.report import format_table
from nerfcomp.evaluation.volume_plot import RatePoint, plot_rates
from nerfcomp.files import atomic_write

logger = logging.getLogger("compress")
_FEWEST = 4  # trials, for a rank correlation


class TrialRow(NamedTuple):
    """One trial; figures are 0 unless it is completed."""

    trial: int
    status: str
    bytes: int
    compression_ratio: float
    psnr: float
    settings: dict[str, Any]


class Importance(NamedTuple):
    """Spearman's rank correlation of a setting with ratio and PSNR, in [-1, 1]."""

    setting: str
    with_ratio: float
    with_psnr: float


def front_of(rows: Sequence[TrialRow]) -> list[TrialRow]:
    """Completed trials that no other beats in both ratio and PSNR, by ratio.

    >>> rows = [TrialRow(i, "COMPLETED", 1, r, p, {}) for i, (r, p) in enumerate([(100, 40), (90, 39), (200, 35)])]
    >>> [row.trial for row in front_of(rows)]
    [0, 2]
    """
    done = sorted(completed(rows), key=lambda row: (-row.compression_ratio, -row.psnr))
    front, best = list[TrialRow](), -math.inf
    for row in done:
        if row.psnr > best:
            front.append(row)
            best = row.psnr
    return front[::-1]


def completed(rows: Sequence[TrialRow]) -> list[TrialRow]:
    """Trials that have figures."""
    return [row for row in rows if row.status == "COMPLETED"]


def importances(rows: Sequence[TrialRow]) -> list[Importance]:
    """How the ranks of settings and results go together, strongest first; none for fewer than four trials."""
    done = completed(rows)
    if len(done) < _FEWEST:
        return []
    results = [[row.compression_ratio for row in done], [row.psnr for row in done]]
    found = []
    for name in done[0].settings:
        values = [float(row.settings[name]) for row in done]
        constant = len(set(values)) == 1
        ranks = [0.0 if constant else float(np.nan_to_num(spearmanr(values, result)[0])) for result in results]
        found.append(Importance(name, *ranks))
    return sorted(found, key=lambda row: -max(abs(row.with_ratio), abs(row.with_psnr)))


def write_results(folder: Path, rows: Sequence[TrialRow]) -> None:
    """Write trials, front, importance and the picture of the front."""
    _write(folder / "trials.csv", rows)
    front = front_of(rows)
    _write(folder / "pareto.csv", front)
    with atomic_write(folder / "importance.csv") as temporary, open(temporary, "w", newline="") as file:
        csv.writer(file).writerows([Importance._fields, *importances(rows)])
    if front:
        trials = [RatePoint(row.compression_ratio, row.psnr) for row in completed(rows)]
        best = [RatePoint(row.compression_ratio, row.psnr) for row in front]
        curves = {"all trials": trials, "front": best}
        if rows[0].status == "COMPLETED":
            curves["default"] = [RatePoint(rows[0].compression_ratio, rows[0].psnr)]
        plot_rates({folder.name: curves}, folder / "pareto.png", scattered=("all trials", "default"))


def _write(path: Path, rows: Sequence[TrialRow]) -> None:
    names = list(rows[0].settings) if rows else []
    with atomic_write(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*TrialRow._fields[:-1], *names])
        writer.writerows([*row[:-1], *(row.settings[name] for name in names)] for row in rows)


def show_front(folder: Path, rows: Sequence[TrialRow]) -> None:
    """Log the front, failures and what mattered."""
    header = ["trial", "bytes", "ratio", "PSNR", "settings"]
    shown = [
        [
            row.trial,
            row.bytes,
            row.compression_ratio,
            row.psnr,
            ", ".join(f"{k}={v:.4g}" for k, v in row.settings.items()),
        ]
        for row in front_of(rows)
    ]
    logger.info(format_table(header, shown))
    failed = [row.trial for row in rows if row.status == "FAILED"]
    logger.info("%d trials, %d failed %s", len(rows), len(failed), failed or "")
    ranks = [list(row) for row in importances(rows)]
    if ranks:
        logger.info(format_table(["setting", "rank correlation with ratio", "with PSNR"], ranks))
    logger.info("Written to %s", folder)
