"""Running a training stage as ``train.py`` does, for it and for commands that train.

``python -m nerfcomp.commands.training fit --config FILE`` is ``train.py`` for programs that start processes.
"""

import importlib
import logging
import sys
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

from nerfcomp.commands.ending import sentences
from nerfcomp.process import ends_without_finalization, prepare_process, show_messages

if TYPE_CHECKING:
    from lightning import Callback, Trainer

    from nerfcomp.callbacks import RunCLI

_ADVERTISED = ("💡 Tip", "TPU available: False", "GPU available: False, used: False", "HPU available: False")
_ROOMS = ("callbacks", "datamodules", "fields", "modules", "optim", "readers", "rendering")


def load_classes() -> None:
    """Load all classes that YAML names shortly."""
    for name in _ROOMS:
        importlib.import_module(f"nerfcomp.{name}")


def is_about_the_run(record: logging.LogRecord) -> bool:
    """Whether a line of Lightning's is about this run, rather than about accelerators it lacks and other products."""
    return not record.getMessage().startswith(_ADVERTISED)


def quiet_lightning() -> None:
    """Keep what is not about the run off the screen, and let Lightning say the rest once."""
    if logging.root.handlers:
        logging.getLogger("lightning").handlers.clear()
    warnings.filterwarnings("ignore", message=".*is an instance of `nn.Module` and is already saved.*")
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*args parameter is intended to run from within Python.*")
    warnings.filterwarnings("ignore", message=".*across ranks is zero.*")  # readers say that no view validates
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(is_about_the_run)


def inner_trainer(steps: int, callbacks: "Sequence[Callback]") -> "Trainer":
    """Make a trainer for a training inside a command: no logger, no checkpoints but those of callbacks.

    Args:
        steps: Optimizer steps.
        callbacks: What else happens; the progress bar is one of them, if there is any.
    """
    from lightning import Trainer
    from lightning.pytorch.callbacks import ProgressBar

    from nerfcomp.callbacks import AtomicCheckpointIO

    quiet_lightning()
    return Trainer(
        max_steps=steps,
        callbacks=list(callbacks),
        plugins=[AtomicCheckpointIO()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=any(isinstance(callback, ProgressBar) for callback in callbacks),
        enable_model_summary=False,
        num_sanity_val_steps=0,
        limit_val_batches=0,
        devices=1,
    )


def run_cli(args: Sequence[str], run: bool = True) -> "RunCLI":
    """Parse, build and, if asked to, run.

    Args:
        args: Command line without the program's name.
        run: With a subcommand in front of ``args``; otherwise only build what the arguments name.
    """
    load_classes()
    from lightning import LightningDataModule

    from nerfcomp import callbacks, modules
    from nerfcomp.commands.configurations import with_included

    quiet_lightning()
    return callbacks.RunCLI(
        modules.FieldModule,
        LightningDataModule,
        subclass_mode_model=True,
        subclass_mode_data=True,
        auto_configure_optimizers=False,
        seed_everything_default=0,
        save_config_callback=callbacks.RunFolder,
        args=with_included(args),
        run=run,
    )


def run_program(args: Sequence[str]) -> None:
    """Run a command line in a process of its own; what a user can mend ends in a sentence."""
    load_classes()  # numpy asks how small numbers can be when it is loaded
    import torch

    show_messages()
    torch.set_flush_denormal(True)  # averages of gradients fade into subnormal numbers, which processors are slow with
    with ends_without_finalization(), sentences():
        run_cli(args)


if __name__ == "__main__":
    prepare_process()  # before torch is loaded
    run_program(sys.argv[1:])
