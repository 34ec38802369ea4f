"""``train.py``: says what it can do before anything is loaded; trains with the shipped default where none is named."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import nerfcomp
from nerfcomp.commands.ending import sentences
from nerfcomp.process import prepare_process

if TYPE_CHECKING:
    from nerfcomp.callbacks import RunCLI

CONFIGS = (Path(__file__).resolve().parent.parent / "configs").resolve()
DEFAULT_CONFIG = CONFIGS / "default.yaml"
SUBCOMMANDS = {
    "fit": "Train a field; --ckpt_path resumes a run.",
    "validate": "Measure a checkpoint on validation views.",
    "test": "Measure a checkpoint on test views.",
    "predict": "Draw new views with a trained field, as training data.",
}


def with_default_config(args: Sequence[str]) -> list[str]:
    """Put the embedded default behind the subcommand when no configuration is named."""
    named = any(arg in ("-c", "--config") or arg.startswith("--config=") for arg in args)
    if named or not args or args[0] not in SUBCOMMANDS:
        return list(args)
    return [args[0], "--config", str(DEFAULT_CONFIG), *args[1:]]


def help_text() -> str:
    """Say in a line each what the subcommands do."""
    lines = [
        "usage: train.py SUBCOMMAND [--config FILE ...] [--OPTION VALUE ...]",
        "",
        "Train, measure or run a field.",
        "",
    ]
    lines += [f"  {name:10}{text}" for name, text in SUBCOMMANDS.items()]
    lines += ["", "Several configurations are laid over each other, and options over all of them; without any,"]
    lines += [f"configs/{DEFAULT_CONFIG.name} trains. --print_config shows what comes out, and whatever may be set:"]
    lines += ["train.py SUBCOMMAND --help names options and classes; --model.help and --data.help CLASS explain one."]
    return "\n".join(lines) + "\n"


def main(args: Sequence[str], run: bool = True) -> "RunCLI":
    """Parse, build and, if asked to, run.

    Args:
        args: Command line without the program's name.
        run: With a subcommand in front of ``args``; otherwise only build what the arguments name.
    """
    from nerfcomp.commands.training import run_cli

    return run_cli(with_default_config(args) if run else args, run)


def run() -> None:
    """Run the command line of this process."""
    prepare_process()  # before torch is loaded
    if not sys.argv[1:] or sys.argv[1] in ("-h", "--help"):
        sys.stdout.write(help_text())
        return
    if sys.argv[1] == "--version":
        sys.stdout.write(f"nerfcomp {nerfcomp.__version__}\n")
        return
    if sys.argv[1] in SUBCOMMANDS and sys.argv[-1] in ("-h", "--help"):
        from nerfcomp.commands.configurations import shipped
        from nerfcomp.commands.training_help import stage_help

        named = [word for word in sys.argv[2:-1] if word.endswith(".yaml")]
        config = shipped(Path(named[-1].removeprefix("--config="))) if named else DEFAULT_CONFIG
        with sentences():
            sys.stdout.write(stage_help(sys.argv[1], SUBCOMMANDS[sys.argv[1]], config))
        return
    from nerfcomp.commands.training import run_program

    full = [word if word != "--full_help" else "--help" for word in sys.argv[1:]]
    run_program(with_default_config(full))
