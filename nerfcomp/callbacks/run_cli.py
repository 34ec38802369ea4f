"""The command line of ``train.py``: LightningCLI without what a file from elsewhere could run."""

import logging
import os
import re
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from jsonargparse import set_parsing_settings
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from nerfcomp.artifacts.checkpoint import load_file
from nerfcomp.artifacts.runs import CHOICES, chosen_checkpoint, find_checkpoint
from nerfcomp.callbacks.progress import RunProgressBar
from nerfcomp.callbacks.run_end import end_run
from nerfcomp.callbacks.run_folder import CONFIG, RunLogger
from nerfcomp.errors import CheckpointError, SettingsError
from nerfcomp.option_errors import refused

logger = logging.getLogger(__name__)
_MEASURED = ("validate", "test")  # subcommands that say how good weights are
_REMOTE = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*(://|::)")  # any scheme of fsspec, chained ones too


class RunCLI(LightningCLI):
    """LightningCLI that resumes a run in its own folder and shows its own progress bar unless told not to.

    A new run gets a new folder. With ``--ckpt_path`` of a run of the same name, ``fit`` goes on in that run's folder
    and ``test`` puts its results there. ``--ckpt_path`` takes the folder or the name of a run, too.

    Checkpoints and configurations are files of this machine. Of a checkpoint, tensors and plain values are loaded;
    the hyper-parameters in it, which Lightning would take for class paths and arguments to build, never reach the
    configuration.
    """

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        """Read configurations from files of this machine only; Lightning opens those of any URL."""
        set_parsing_settings(config_read_mode_fsspec_enabled=False)
        parser = super().init_parser(**kwargs)
        parser.error = partial(_refuse, parser)  # type: ignore[method-assign]
        return parser

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Remember what was given by hand."""
        given = sys.argv[1:] if args is None else args
        self._words = [str(word) for word in given] if isinstance(given, list | tuple) else []
        super().parse_arguments(parser, args)

    def _parse_ckpt_path(self) -> None:
        """In the place of Lightning's, which merges the hyper-parameters of a checkpoint into the configuration.

        Raises:
            CheckpointError: The checkpoint is remote, missing, damaged, or of anything but tensors and plain values.
            SettingsError: Pickled code was asked for, or there is nothing trained to measure.
        """
        if not self.config.get("subcommand"):
            return
        options = self.config[self.config.subcommand]
        if options.get("weights_only") is False:
            raise SettingsError("weights_only is false, but pickled code is never loaded. Leave the option out.")
        options.weights_only = True
        checkpoint = options.get("ckpt_path")
        if checkpoint is None and self.config.subcommand in _MEASURED:
            raise SettingsError(
                f"{self.config.subcommand} measures trained weights, and only --ckpt_path says which. Give it a "
                "checkpoint, the folder of a run, or the name of a finished one."
            )
        if checkpoint is None:
            return
        if checkpoint in CHOICES:
            checkpoint = chosen_checkpoint(checkpoint, _folder_of_runs(options.trainer.get("logger")))
            logger.info("--ckpt_path %s: taking %s", options.ckpt_path, checkpoint)
        if _REMOTE.match(str(checkpoint)):
            raise CheckpointError(f"{checkpoint} is remote; only files of this machine are read. Download it first.")
        options.ckpt_path = str(find_checkpoint(checkpoint))
        ignored = [word for word in self._words if word.startswith("--model.") and self.config.subcommand == "fit"]
        if ignored:
            logger.warning(
                "A resumed run is that of its checkpoint: its weights, hooks and optimizer stay. %s may have no "
                "effect; use model.init_args.init_from to begin a new run with these weights.",
                " ".join(ignored),
            )
        load_file(options.ckpt_path)

    def before_fit(self) -> None:
        """Read the scene before the run gets a folder."""
        self.datamodule.setup("fit")

    def after_fit(self) -> None:
        """Measure the end of the run and say where everything is."""
        end_run(self.trainer, f"{CONFIG}.yaml")

    def before_validate(self) -> None:
        """Read the scene before the run gets a folder."""
        self.datamodule.setup("validate")

    def before_test(self) -> None:
        """Read the scene before the run gets a folder."""
        self.datamodule.setup("test")

    def before_instantiate_classes(self) -> None:
        """Let ``--trainer.enable_progress_bar false`` win over our bar; Lightning would refuse the two together.

        Lightning's table of modules is left out unless it is asked for; a line at the start says the same.
        """
        options = (self.config[self.subcommand] if self.subcommand else self.config).trainer
        if options.enable_model_summary is None:
            options.enable_model_summary = False
        if options.enable_progress_bar is False and options.callbacks:
            bar = f".{RunProgressBar.__name__}"
            options.callbacks = [callback for callback in options.callbacks if not callback.class_path.endswith(bar)]

    def after_instantiate_classes(self) -> None:
        """Settle the folder before the trainer opens it."""
        checkpoint = self.config[self.subcommand].get("ckpt_path") if self.subcommand else None
        if checkpoint is None or not Path(checkpoint).is_file():
            return
        for run_logger in self.trainer.loggers:
            if isinstance(run_logger, RunLogger):
                run_logger.continue_from(checkpoint)


def _refuse(parser: LightningArgumentParser, message: str, error: Exception | None = None) -> NoReturn:
    """End the program in the place of jsonargparse, which shows every option of Lightning first."""
    told = getattr(error, "subcommand_parser", None) or parser
    if os.environ.get("JSONARGPARSE_DEBUG"):
        raise ValueError(message) from error
    sys.stderr.write(refused(told.prog.replace(" [options]", ""), message, list(_options(parser))) + "\n")
    sys.exit(2)


def _options(parser: Any) -> Iterator[str]:
    """Options of a parser and of its subcommands."""
    for action in parser._actions:
        yield from (name for name in action.option_strings if name.startswith("--"))
        for inner in (action.choices or {}).values() if isinstance(action.choices, dict) else ():
            yield from _options(inner)


def _folder_of_runs(loggers: Any) -> Path | None:
    """Folder of all versions of the run that a configuration names."""
    for described in loggers if isinstance(loggers, list) else [loggers]:
        path = getattr(described, "class_path", None)
        if isinstance(path, str) and path.rpartition(".")[2] == RunLogger.__name__:
            values = described.get("init_args") or {}
            return Path(
                RunLogger(**{key: values[key] for key in ("name", "save_dir", "scene") if key in values}).root_dir
            )
    return None
