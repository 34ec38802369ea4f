"""Losses of a configuration's first steps with Triton's kernels, and how far they are from those of the references.

python benchmarks/triton_losses.py [--steps 20] [--config configs/default.yaml] [--OPTION VALUE ...]

Without a GPU the kernels run in Triton's interpreter. Other arguments are those of `train.py fit`; without any the
default scene is trained at its full size. Ends with an error where losses differ by more than a thousandth.
"""

import argparse
import contextlib
import logging
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from nerfcomp.process import prepare_process

prepare_process()  # before torch is loaded
import torch
from lightning import Callback

BAR = 1e-3


class Step(NamedTuple):
    """Losses of a step by both, and their relative difference."""

    step: int
    rays: int
    triton: float
    torch: float
    difference: float


class Losses(Callback):
    """Keeps what every step said."""

    def __init__(self) -> None:
        self.kept: list[tuple[float, int]] = []

    def on_train_batch_end(self, *arguments: Any) -> None:
        """Note a step."""
        outputs = arguments[2]
        self.kept.append((float(outputs["loss"]), int(outputs["rays"])))


def losses(backend: Any, steps: int, arguments: list[str]) -> list[tuple[float, int]]:
    """Loss and number of rays of every step."""
    from nerfcomp.commands.train_program import main as build
    from nerfcomp.kernels.backends import prefer_backend

    settings = {"max_steps": steps, "limit_val_batches": 0, "num_sanity_val_steps": 0, "logger": "false"}
    settings |= {"enable_checkpointing": "false", "enable_progress_bar": "false", "enable_model_summary": "false"}
    options = [str(word) for name, value in settings.items() for word in (f"--trainer.{name}", value)]
    accelerator = "gpu" if torch.cuda.is_available() else "cpu"
    options += ["--trainer.callbacks", "[]", "--trainer.accelerator", accelerator, "--trainer.devices", "1"]
    cli: Any = build([*arguments, *options], run=False)
    kept = Losses()
    cli.trainer.callbacks.append(kept)
    began = time.perf_counter()
    with prefer_backend(backend):
        cli.trainer.fit(cli.model, datamodule=cli.datamodule)
    logging.getLogger("benchmark").info("%s: %.0f s", backend, time.perf_counter() - began)
    return kept.kept


def main() -> None:
    """Train twice and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20)
    options, arguments = parser.parse_known_args()
    if not torch.cuda.is_available() and "TRITON_INTERPRET" not in os.environ:
        environment = os.environ | {"TRITON_INTERPRET": "1"}  # read when Triton is imported
        os.execve(sys.executable, [sys.executable, *sys.argv], environment)
    from benchmarks.common import report

    arguments = arguments or ["--config", str(ROOT / "configs" / "default.yaml")]
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        ours, theirs = (losses(backend, options.steps, arguments) for backend in ("triton", "torch"))
    pairs = enumerate(zip(ours, theirs, strict=True))
    rows = [Step(i, n, one, other, abs(one - other) / other) for i, ((one, n), (other, _)) in pairs]
    same_rays = [n for _, n in ours] == [n for _, n in theirs]
    report("triton_losses", {"arguments": arguments, "same_rays": same_rays}, rows)
    worst = max(row.difference for row in rows)
    if worst > BAR or not same_rays:
        sys.exit(f"Error: losses differ by {worst:.1e}, {BAR:.0e} is allowed; the same numbers of rays: {same_rays}.")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    main()
