"""Steps per second of two processes, one thread each, beside those of one process alone.

python benchmarks/two_processes.py                                                         # the embedded scene
python benchmarks/two_processes.py --config configs/ngp/lego_fast.yaml --data.reader.root FOLDER

Runs alternate; a run's figure is its fastest window of 25 steps, as other programs only ever slow a window down.
"""

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from nerfcomp.process import prepare_process

prepare_process()  # before torch is loaded
from lightning import Callback, LightningModule, Trainer

from benchmarks.common import report

WINDOW = 25
EMBEDDED = ["--config", str(ROOT / "configs" / "default.yaml"), "--model.field.log2_table_size", "18"]
EMBEDDED += ["--model.max_samples", "24576"]  # tables of 17 MB, as for lego


class Clock(Callback):
    """Writes down when steps end, and how many rays they used.

    Args:
        folder: Gets ``rank<r>.json``.
    """

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        self.times: list[float] = []
        self.rays: list[float] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *_: Any) -> None:
        """Note a step."""
        self.times.append(time.perf_counter())
        self.rays.append(float(outputs["rays"]))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write."""
        content = json.dumps({"times": self.times, "rays": self.rays})
        (self.folder / f"rank{trainer.global_rank}.json").write_text(content, encoding="utf-8")


class Speed(NamedTuple):
    """Best of all runs."""

    processes: int
    steps_per_second: float
    rays_per_second: float
    share: float


def run(processes: int, steps: int, arguments: list[str]) -> tuple[float, float]:
    """Train for some steps; steps per second of each process and rays per second of all, in the fastest window."""
    with tempfile.TemporaryDirectory() as folder:
        clock = f"[{{class_path: benchmarks.two_processes.Clock, init_args: {{folder: {folder}}}}}]"
        command = [sys.executable, str(ROOT / "train.py"), "fit", *arguments]
        command += ["--trainer.max_steps", str(steps), "--trainer.limit_val_batches", "0", "--trainer.logger", "false"]
        command += ["--trainer.callbacks", clock, "--trainer.accelerator", "cpu", "--trainer.devices", str(processes)]
        command += ["--trainer.strategy", "ddp" if processes > 1 else "auto", "--trainer.enable_checkpointing", "false"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
        subprocess.run(command, check=True, env=environment, cwd=folder, stdout=subprocess.DEVNULL)
        ranks = [json.loads((Path(folder) / f"rank{rank}.json").read_text()) for rank in range(processes)]
    times = ranks[0]["times"][steps // 4 :]
    seconds, begin = min((times[i + WINDOW] - times[i], i) for i in range(len(times) - WINDOW))
    begin += steps // 4
    rays = sum(sum(rank["rays"][begin + 1 : begin + WINDOW + 1]) for rank in ranks)
    return WINDOW / seconds, rays / seconds


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=2)
    options, arguments = parser.parse_known_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    best = {1: (0.0, 0.0), 2: (0.0, 0.0)}
    for _ in range(options.repeats):
        for processes in best:
            best[processes] = max(best[processes], run(processes, options.steps, arguments or EMBEDDED))
    rows = [Speed(number, *speeds, speeds[0] / best[1][0]) for number, speeds in best.items()]
    report("two_processes", {"steps": options.steps, "arguments": " ".join(arguments)}, rows)


if __name__ == "__main__":
    main()
