"""What a finished run says last: a final validation, its checkpoints, and what to do with them."""

import logging
from pathlib import Path
from typing import Any

from lightning import Trainer

from nerfcomp.artifacts.runs import LAST

logger = logging.getLogger(__name__)


def end_run(trainer: Trainer, config: str) -> None:
    """Validate what has not been validated since the last step, and say what the run has made.

    Args:
        trainer: Its ``fit`` has ended.
        config: Name of the configuration in the folder of the run.
    """
    if getattr(trainer, "fast_dev_run", False) or trainer.interrupted:
        return
    figures = final_figures(trainer)
    folder = trainer.log_dir  # all processes must ask
    if not trainer.is_global_zero:
        return
    if figures:
        logger.info("Validation: %s", ", ".join(f"{name} {value:.4g}" for name, value in figures.items()))
    if folder is not None and trainer.loggers:
        for line in next_steps(Path(folder), config):
            logger.info("%s", line)


def final_figures(trainer: Trainer) -> dict[str, float]:
    """Figures of validation views at the last step; in one process they are measured anew when they are older."""
    module: Any = trainer.lightning_module
    data: Any = trainer.datamodule  # type: ignore[attr-defined]
    fresh = getattr(module, "validated_step", trainer.global_step) == trainer.global_step
    has_views = hasattr(data, "has") and data.has("val") and trainer.limit_val_batches != 0
    if fresh or not has_views or trainer.world_size > 1:
        return _validation_figures(trainer)
    trainer.validate(module, datamodule=data, verbose=False)
    return _validation_figures(trainer)


def _validation_figures(trainer: Trainer) -> dict[str, float]:
    return {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")}


def next_steps(folder: Path, config: str) -> list[str]:
    """Lines that name the checkpoints and files of a run, and commands to type next.

    Args:
        folder: Of the run.
        config: Name of its configuration.
    """
    lines = []
    best = sorted((folder / LAST).parent.glob("best*.ckpt"), key=lambda path: path.stat().st_mtime)
    coded = sorted((folder / "bitstreams").glob("*.nfc"))
    for name, paths in (("Best checkpoint", best), ("Last checkpoint", [folder / LAST]), ("File", coded)):
        lines += [f"{name}: {path}" for path in paths[-1:] if path.is_file()]
    if (folder / LAST).is_file():
        name = f"{folder.parent.name}.nfc"
        lines += ["Next:", f"  python train.py test --config {folder / config} --ckpt_path {folder}"]
        lines += [f"  python compress.py view {coded[-1]}"] if coded else []
        lines += [] if coded else [f"  python compress.py encode {folder} --out {name}"]
    return lines
