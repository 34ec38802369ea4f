"""``compress.py info``: what a file holds. Loads no torch, as people look into many files."""

import logging
from pathlib import Path
from typing import Any

from nerfcomp.codec import read_container
from nerfcomp.evaluation.report import format_table, printable

logger = logging.getLogger("compress")


def info(input: Path) -> None:
    """Show what a .nfc file holds, without decoding it.

    Args:
        input: The .nfc file.
    """
    container = read_container(input, max_elements=2**62)  # nothing is decoded
    rows: list[list[Any]] = [[name, kind, len(data), len(tensors)] for name, kind, data, tensors in container.sections]
    size = input.stat().st_size
    rows.append(["header, digest", "json", size - sum(row[2] for row in rows), 0])
    logger.info(
        format_table(["section", "kind", "bytes", "tensors"], [*rows, ["all", "", size, sum(r[3] for r in rows)]])
    )
    header = dict(container.header)
    if field := header.pop("field", None):
        logger.info("field: %s %s", printable(field["class_path"]), printable(field["init_args"]))
    for key in sorted(header):
        logger.info("%s: %s", printable(key), printable(header[key]))
