"""Results as people read them and as programs read them: one table, one JSON, one CSV."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from nerfcomp.files import atomic_write

_WIDEST = 10_000  # columns of text; wider than any table


class ViewResult(NamedTuple):
    """Quality of one rendered view."""

    name: str
    psnr: float  # dB
    ssim: float
    seconds: float  # rendering time


class MeanResult(NamedTuple):
    """Mean over the views of one scene."""

    views: int
    psnr: float  # dB, mean of the per-image figures
    ssim: float
    seconds: float  # per image


def mean_result(views: Sequence[ViewResult]) -> MeanResult:
    """Average per-image figures.

    Raises:
        ValueError: There is no view.

    >>> mean_result([ViewResult("a", 30.0, 0.9, 1.0), ViewResult("b", 32.0, 0.7, 3.0)])
    MeanResult(views=2, psnr=31.0, ssim=0.8, seconds=2.0)
    """
    if not views:
        raise ValueError("There is no view to average over.")
    psnr, ssim, seconds = (sum(column) / len(views) for column in list(zip(*views))[1:])
    return MeanResult(len(views), psnr, ssim, seconds)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON object, whole or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")


def write_csv(path: Path, rows: Sequence[tuple[Any, ...]]) -> None:
    """Write NamedTuples of one kind as a CSV with their field names on top, whole or not at all."""
    with atomic_write(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.writer(file)
        if rows:
            writer.writerow(rows[0]._fields)  # type: ignore[attr-defined]
        writer.writerows(rows)


def printable(text: object) -> str:
    r"""Text of unknown origin for a terminal: what moves a cursor or is no character is escaped.

    >>> printable(chr(27) + "[2Jb")
    '\\x1b[2Jb'
    """
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii") for letter in str(text)
    )


def format_table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Align columns; floats get three decimals, integers thousands separators.

    The text is the same in a terminal, a log and a pipe: no colours, no line is cut or broken.

    >>> print(format_table(["name", "bytes"], [["grid", 12345], ["mlp", 7]]))
    name   bytes
    grid  12,345
    mlp        7
    """
    from rich.console import Console  # here, as a command's help needs no table
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name, value in zip(header, rows[0] if rows else header, strict=True):
        table.add_column(Text(name), justify="left" if isinstance(value, str) else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row))
    console = Console(file=io.StringIO(), color_system=None, width=_WIDEST)
    with console.capture() as text:
        console.print(table)
    return "\n".join(line.rstrip() for line in text.get().splitlines())


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
