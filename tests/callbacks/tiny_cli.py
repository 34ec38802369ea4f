"""``train.py`` in small: ``python -m tests.callbacks.tiny_cli fit --config tiny.yaml``."""

import contextlib
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from nerfcomp.process import ends_without_finalization, prepare_process

prepare_process()  # before torch is loaded

import nerfcomp
from nerfcomp import callbacks  # noqa: F401  short names
from nerfcomp.callbacks import RunCLI, RunFolder
from nerfcomp.datamodules import RayDataModule
from tests.tiny import TinyModule, TinyReader, UnreadableReader  # noqa: F401  short names

CONFIG = """
trainer:
  accelerator: cpu
  max_steps: 40
  num_sanity_val_steps: 0
  enable_model_summary: false
  logger: {{class_path: RunLogger, init_args: {{name: tiny, save_dir: {root}/runs}}}}
  callbacks:
    - {{class_path: RunProgressBar}}
    - {{class_path: Throughput, init_args: {{every_n_steps: 10}}}}
    - {{class_path: ImageLogger}}
    - {{class_path: VideoRender, init_args: {{n_frames: 8, every_n_steps: 20}}}}
    - {{class_path: RunCheckpoint, init_args: {{every_n_train_steps: 7}}}}
model: {{keep_batches: true, record: {root}/record, pause: 0.03}}
data:
  reader: {{class_path: TinyReader}}
  batch_size: 16
  steps_per_epoch: 10
"""


def main(args: Sequence[str] | None = None) -> RunCLI:
    """Parse and run."""
    return RunCLI(
        TinyModule,
        RayDataModule,
        save_config_callback=RunFolder,
        seed_everything_default=0,
        auto_configure_optimizers=False,
        args=None if args is None else list(args),
    )


def start(log: Path, *args: str | Path) -> "subprocess.Popen[bytes]":
    """Run ``fit`` in a process of its own that writes all it says to ``log``."""
    command = [sys.executable, "-m", "tests.callbacks.tiny_cli", "fit", *map(str, args)]
    repository = Path(nerfcomp.__file__).resolve().parent.parent
    with log.open("wb") as file:
        return subprocess.Popen(
            command,
            cwd=repository,
            stdout=file,
            stderr=file,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )


def stop(process: "subprocess.Popen[bytes]") -> None:
    """``kill -9`` for a process and the processes that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    with ends_without_finalization():
        main()
