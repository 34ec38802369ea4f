"""How long programs take to say what they can do: ``python -m benchmarks.startup``.

Each command runs several times in a process of its own; the first run, which may read from disk, does not count. The
table shows the fastest time on the clock and the processor time of that run.
"""

import argparse
import logging
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from nerfcomp.process import prepare_process

prepare_process()  # as in all programs
import numpy as np

from nerfcomp.codec import Container, Storage, encode, write_container
from nerfcomp.evaluation.report import format_table

ROOT = Path(__file__).resolve().parent.parent
FIELD = {"class_path": "nerfcomp.fields.NGPField", "init_args": {}}
logger = logging.getLogger("startup")


class Start(NamedTuple):
    """Seconds of one run: on the clock, and of all processors."""

    clock: float
    cpu: float


def measure(command: list[str]) -> Start:
    """Run a command once; it must succeed."""
    before, begin = os.times(), time.perf_counter()
    subprocess.run([sys.executable, *command], cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
    clock, after = time.perf_counter() - begin, os.times()
    cpu = after.children_user - before.children_user + after.children_system - before.children_system
    return Start(clock, cpu)


def main() -> None:
    """Measure and show the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5, help="runs of each command that count")
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "scene.nfc"
        sections = encode({"bias": np.zeros(2, np.float32)}, {"bias": Storage("mlp", qp=-20)})
        write_container(file, Container({"field": FIELD}, sections))
        commands = {
            "compress.py --help": ["compress.py", "--help"],
            "compress.py info FILE": ["compress.py", "info", str(file)],
            "train.py --help": ["train.py", "--help"],
            "train.py fit --help": ["train.py", "fit", "--help"],
            'python -c "import nerfcomp"': ["-c", "import nerfcomp"],
        }
        rows = []
        for name, command in commands.items():
            measure(command)
            best = min(measure(command) for _ in range(repeats))
            rows.append([name, f"{best.clock:.2f}", f"{best.cpu:.2f}"])
    logger.info(format_table(["command", "s", "s of processors"], rows))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main()
