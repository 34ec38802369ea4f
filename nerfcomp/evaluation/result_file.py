"""The record of a tuning run, ``result.txt``: PSNR and loss of every iteration, as text that people edit and check.

Two lines, ``psnr : [24.61, 24.85, ...]`` and ``loss : [0.0084, 0.0081, ...]``, of one length.
"""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nerfcomp.errors import NerfcompError
from nerfcomp.files import atomic_write

LISTS = ("psnr", "loss")


class BadEntry(NamedTuple):
    """An entry that is no finite number."""

    name: str  # of its list
    place: int  # from 0
    text: str  # as it stands in the file

    def __str__(self) -> str:
        return f"{self.name}: entry {self.place} is {self.text!r}, not a number"


class TuningRecord(NamedTuple):
    """What a file holds: (n,) float64 each, NaN where an entry is bad."""

    psnr: np.ndarray
    loss: np.ndarray
    bad: tuple[BadEntry, ...]


def write_record(path: Path, psnr: Sequence[float], loss: Sequence[float]) -> None:
    """Write a record, whole or not at all.

    Args:
        path: ``result.txt``.
        psnr: Of every iteration, dB.
        loss: Of every iteration.
    """
    lines = [f"{name} : [{', '.join(f'{v:.6g}' for v in values)}]\n" for name, values in zip(LISTS, (psnr, loss))]
    with atomic_write(path) as temporary:
        temporary.write_text("".join(lines))


def read_record(path: Path) -> TuningRecord:
    """Read and check a record.

    Args:
        path: ``result.txt``.

    Returns:
        The two lists, and every entry that is no number by list, index and text.

    Raises:
        NerfcompError: No such file, or one of the lists is missing.
    """
    if not path.is_file():
        raise NerfcompError(f"There is no record at {path}. A tuning run writes result.txt into its folder.")
    text = path.read_text(encoding="utf-8", errors="replace")
    lists = {name: parse_list(text, name) for name in LISTS}
    missing = [name for name, found in lists.items() if found is None]
    if missing:
        raise NerfcompError(f"{path} holds no list {' and no list '.join(missing)}; it needs lines like 'psnr : [..]'.")
    values, bad = [], []
    for name, entries in lists.items():
        numbers = np.array([to_number(entry) for entry in entries or ()])
        bad += [BadEntry(name, int(index), (entries or ())[index]) for index in np.flatnonzero(np.isnan(numbers))]
        values.append(numbers)
    return TuningRecord(values[0], values[1], tuple(bad))


def parse_list(text: str, name: str) -> tuple[str, ...] | None:
    """Entries of the list ``name`` as they stand in ``text``; None when there is no such list.

    >>> parse_list("psnr : [31.2, 31.408a86]", "psnr")
    ('31.2', '31.408a86')
    """
    match = re.search(rf"^\s*{name}\s*:\s*\[(.*?)(?:\]|\Z)", text, re.MULTILINE | re.DOTALL)
    if match is None:
        return None
    return tuple(entry.strip() for entry in match[1].split(",")) if match[1].strip() else ()


def to_number(entry: str) -> float:
    """A finite number, or NaN for everything else.

    >>> to_number("31.4"), to_number("31.408a86"), to_number("inf")
    (31.4, nan, nan)
    """
    try:
        value = float(entry)
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan
