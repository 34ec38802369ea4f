"""Train, validate, test or run a field: ``python train.py fit --config configs/ngp/lego.yaml``.

Without ``--config`` the embedded default trains: a scene that the program makes itself, on whatever device there is.
"""

import logging
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from nerfcomp.process import prepare_process

prepare_process()  # before torch is loaded
import torch
from lightning.pytorch.cli import LightningCLI

from nerfcomp import callbacks, datamodules, fields, modules, optim, readers, rendering
from nerfcomp.errors import NerfcompError

SHORT_NAMES = (callbacks, datamodules, fields, modules, optim, readers, rendering)  # classes that YAML names shortly
DEFAULT_CONFIG = Path(__file__).resolve().parent / "configs" / "default.yaml"
SUBCOMMANDS = ("fit", "validate", "test", "predict")


def with_default_config(args: Sequence[str]) -> list[str]:
    """Put the embedded default behind the subcommand when no configuration is named."""
    named = any(arg in ("-c", "--config") or arg.startswith("--config=") for arg in args)
    if named or not args or args[0] not in SUBCOMMANDS:
        return list(args)
    return [args[0], "--config", str(DEFAULT_CONFIG), *args[1:]]


def main(args: Sequence[str], run: bool = True) -> LightningCLI:
    """Parse, build and, if asked to, run.

    Args:
        args: Command line without the program's name.
        run: With a subcommand in front of ``args``; otherwise only build what the arguments name.
    """
    warnings.filterwarnings("ignore", message=".*is an instance of `nn.Module` and is already saved.*")
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*args parameter is intended to run from within Python.*")
    warnings.filterwarnings("ignore", message=".*across ranks is zero.*")  # readers say that no view validates
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
    return callbacks.RunCLI(
        modules.FieldModule,
        datamodules.SceneDataModule,
        subclass_mode_model=True,
        subclass_mode_data=True,
        auto_configure_optimizers=False,
        seed_everything_default=0,
        save_config_callback=callbacks.RunFolder,
        args=with_default_config(args) if run else list(args),
        run=run,
    )


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_flush_denormal(True)  # averages of gradients fade into subnormal numbers, which processors are slow with
    try:
        main(sys.argv[1:])
    except NerfcompError as error:
        sys.exit(f"Error: {error}")
