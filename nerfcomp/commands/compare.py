"""Two runs side by side, as one page."""

import base64
import html
import io
import logging
from collections.abc import Sequence
from pathlib import Path

from nerfcomp.commands.run_record import RunRecord, differing, read_run
from nerfcomp.errors import NerfcompError
from nerfcomp.files import new_file, refuse_overwrite

logger = logging.getLogger("compress")
_STYLE = """
body { font: 14px sans-serif; margin: 2em auto; max-width: 1100px; color: #222 }
table { border-collapse: collapse } td, th { padding: .2em 1em .2em 0; text-align: left; vertical-align: top }
td.number { text-align: right; font-variant-numeric: tabular-nums } img { max-width: 100% } h2 { margin-top: 2em }
.first { color: #1f77b4 } .second { color: #d62728 }
"""
_COLORS = "#1f77b4", "#d62728"


def compare(first: Path, second: Path, out: Path = Path("comparison.html"), force: bool = False) -> None:
    """Put two training runs side by side in one HTML file: settings that differ, figures, curves, pictures.

    Args:
        first: Folder or name of a run.
        second: Likewise.
        out: The file, which needs nothing else to be shown.
        force: Overwrite ``out``.
    """
    refuse_overwrite(out, force)
    runs = read_run(first), read_run(second)
    with new_file(out, force) as temporary:
        temporary.write_text(comparison_page(*runs), encoding="utf-8")
    changed = len(differing(runs[0].settings, runs[1].settings))
    logger.info("%s: %d settings differ, %d curves.", out, changed, len(runs[0].curves.keys() | runs[1].curves.keys()))


def comparison_page(first: RunRecord, second: RunRecord) -> str:
    """The page of two runs."""
    names = [html.escape(str(run.folder)) for run in (first, second)]
    title = f'<span class="first">{names[0]}</span> and <span class="second">{names[1]}</span>'
    parts = [
        f"<h1>{title}</h1>",
        "<h2>Settings that differ</h2>",
        _table(("setting", *names), differing(first.settings, second.settings)) or "<p>None.</p>",
        "<h2>Final figures</h2>",
        _table(("figure", *names, "second - first"), _figures(first, second)),
        "<h2>Curves</h2>",
        _picture(_curves(first, second), "curves"),
        "<h2>Pictures</h2>",
        *_pictures(first, second),
    ]
    head = f'<meta charset="utf-8"><title>{names[0]} and {names[1]}</title><style>{_STYLE}</style>'
    return f"<!DOCTYPE html><html><head>{head}</head><body>{''.join(parts)}</body></html>\n"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    top = "".join(f"<th>{name}</th>" for name in header)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{top}</tr>{body}</table>"


def _figures(first: RunRecord, second: RunRecord) -> list[tuple[str, ...]]:
    rows = []
    for name in sorted(first.results.keys() | second.results.keys()):
        one, other = first.results.get(name), second.results.get(name)
        change = "" if one is None or other is None else f"{other - one:+.5g}"
        rows.append((name, *("-" if value is None else f"{value:.5g}" for value in (one, other)), change))
    return rows


def _curves(first: RunRecord, second: RunRecord) -> bytes:
    """PNG of all curves, both runs in one panel."""
    from matplotlib.figure import Figure

    names = sorted(first.curves.keys() | second.curves.keys())
    if not names:
        raise NerfcompError(f"Neither {first.folder} nor {second.folder} has logged a figure.")
    rows = -(-len(names) // 3)
    figure = Figure(figsize=(12, 2.6 * rows), layout="constrained")
    for number, name in enumerate(names):
        axes = figure.add_subplot(rows, 3, number + 1, title=name)
        for run, color in zip((first, second), _COLORS):
            if name in run.curves:
                axes.plot(
                    *run.curves[name].T, color=color, linewidth=1, marker="." if len(run.curves[name]) < 3 else ""
                )
    with io.BytesIO() as file:
        figure.savefig(file, format="png", dpi=80)
        return file.getvalue()


def _pictures(first: RunRecord, second: RunRecord) -> list[str]:
    parts = []
    for name in sorted(first.pictures.keys() | second.pictures.keys()):
        parts.append(f"<h3>{html.escape(name)}</h3>")
        for run, which in ((first, "first"), (second, "second")):
            if name in run.pictures:
                parts.append(f'<p class="{which}">{which}</p>{_picture(run.pictures[name], name)}')
    return parts or ["<p>None.</p>"]


def _picture(png: bytes, name: str) -> str:
    return f'<img alt="{html.escape(name)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'
