"""Steps per second of two processes, one thread each, beside those of one process alone.

A third measurement is of two processes that train apart and send each other nothing: what is lost there is lost to the
machine, whose cores share caches and memory, and no exchange of gradients can win it back.

python benchmarks/two_processes.py                                                         # the embedded scene
python benchmarks/two_processes.py --config configs/ngp/lego_fast.yaml --data.reader.root FOLDER

Runs alternate; a run's figure is its fastest window of 25 steps, as other programs only ever slow a window down, and
of two processes the slower one's. Processor time is that of the cheapest window.
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
    """Writes down when steps end, the processor time until then, and how many rays they used.

    Args:
        folder: Gets ``rank<r>.json``.
    """

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        self.steps: list[tuple[float, float, float]] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *_: Any) -> None:
        """Note a step."""
        self.steps.append((time.perf_counter(), time.process_time(), float(outputs["rays"])))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write."""
        (self.folder / f"rank{trainer.global_rank}.json").write_text(json.dumps(self.steps), encoding="utf-8")


class Speed(NamedTuple):
    """Best of all runs.

    Attributes:
        processes: ``one``, ``two apart`` or ``two together``.
        steps_per_second: Of each process.
        rays_per_second: Of all processes together.
        cpu_ms: Processor time of a step of one process.
        share: Of the steps per second of one process alone.
    """

    processes: str
    steps_per_second: float
    rays_per_second: float
    cpu_ms: float
    share: float


PROCESSES = {"one": (1, 1), "two apart": (2, 1), "two together": (1, 2)}  # commands, and processes of each


def run(kind: str, steps: int, arguments: list[str]) -> tuple[float, float, float]:
    """Train for some steps; steps per second of each process, rays per second of all, processor time of a step."""
    commands, processes = PROCESSES[kind]
    with tempfile.TemporaryDirectory() as name:
        folders = [Path(name) / str(number) for number in range(commands)]
        started = [start(folder, processes, steps, arguments) for folder in folders]
        if any([process.wait() for process in started]):
            raise SystemExit("A training run failed; its messages stand above.")
        files = sorted(path for folder in folders for path in folder.glob("rank*.json"))
        found = [window(json.loads(path.read_text())[steps // 4 :]) for path in files]
    speeds, rays, times = zip(*found)
    return min(speeds), sum(rays), 1e3 * max(times)


def start(folder: Path, processes: int, steps: int, arguments: list[str]) -> subprocess.Popen[bytes]:
    """Start a training run that leaves its times in ``folder``."""
    folder.mkdir()
    clock = f"[{{class_path: benchmarks.two_processes.Clock, init_args: {{folder: {folder}}}}}]"
    command = [sys.executable, str(ROOT / "train.py"), "fit", *arguments]
    command += ["--trainer.max_steps", str(steps), "--trainer.limit_val_batches", "0", "--trainer.logger", "false"]
    command += ["--trainer.callbacks", clock, "--trainer.accelerator", "cpu", "--trainer.devices", str(processes)]
    command += ["--trainer.strategy", "ddp" if processes > 1 else "auto", "--trainer.enable_checkpointing", "false"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, cwd=folder, stdout=subprocess.DEVNULL)


def window(steps: list[tuple[float, float, float]]) -> tuple[float, float, float]:
    """Steps and rays per second of the fastest window, and the least processor time of a step, in seconds."""
    begins = range(len(steps) - WINDOW)
    seconds, begin = min((steps[i + WINDOW][0] - steps[i][0], i) for i in begins)
    busy = min(steps[i + WINDOW][1] - steps[i][1] for i in begins)
    rays = sum(step[2] for step in steps[begin + 1 : begin + WINDOW + 1])
    return WINDOW / seconds, rays / seconds, busy / WINDOW


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=2)
    options, arguments = parser.parse_known_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    runs: dict[str, list[tuple[float, float, float]]] = {kind: [] for kind in PROCESSES}
    for _ in range(options.repeats):
        for kind, found in runs.items():
            found.append(run(kind, options.steps, arguments or EMBEDDED))
    best = {kind: (*max(found)[:2], min(times for *_, times in found)) for kind, found in runs.items()}
    rows = [Speed(kind, *speeds, speeds[0] / best["one"][0]) for kind, speeds in best.items()]
    report("two_processes", {"steps": options.steps, "arguments": " ".join(arguments)}, rows)


if __name__ == "__main__":
    main()
