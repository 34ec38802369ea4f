"""What the occupancy coder saves over lzma on real files: ``python -m benchmarks.occupancy a.nfc b.nfc``.

Both code the same occupancy without loss; lzma gets the cells as packed bits, without a container around.
"""

import argparse
import logging
import lzma
from pathlib import Path

from nerfcomp.process import prepare_process

prepare_process()  # as in all programs
import numpy as np

from nerfcomp.codec import decode, read_container
from nerfcomp.evaluation.report import format_table

logger = logging.getLogger("occupancy")


def main() -> None:
    """Measure every file and show the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", type=Path, nargs="+", help=".nfc files of radiance fields")
    rows = []
    for path in parser.parse_args().files:
        container = read_container(path)
        for section in container.sections:
            if section.kind == "bits":
                cells = decode(container._replace(sections=(section,)))[section.tensors[0].name]
                filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME}]
                other = len(lzma.compress(np.packbits(cells).tobytes(), lzma.FORMAT_RAW, filters=filters))
                ours, size = len(section.data), path.stat().st_size
                share = f"{100 * cells.mean():.2f} %"
                rows.append(
                    [path.name, "x".join(map(str, cells.shape)), share, ours, other, f"{other / ours:.2f}", size]
                )
    head = ["file", "cells", "occupied", "bytes", "lzma", "ratio", "whole file"]
    logger.info(format_table(head, rows))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main()
