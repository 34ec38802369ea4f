"""``compress.py``: finds the subcommand that is asked for, and loads no more than it needs."""

import importlib
import inspect
import logging
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NoReturn, TextIO

import nerfcomp
from nerfcomp.commands.ending import sentences
from nerfcomp.commands.table import COMMANDS, FORMER_NAMES, FORMER_OPTIONS, SECTIONS
from nerfcomp.devices import use_device
from nerfcomp.errors import NerfcompError
from nerfcomp.process import prepare_process, show_messages

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

PROGRAM = "compress.py"
POSITIONAL = ("input", "first", "second")  # parameters that are given without a name
_HELP = ("-h", "--help")


class Terminal(logging.StreamHandler[TextIO]):
    """Output whose reader may go, as ``head`` does; the work goes on, and the rest is told to nobody."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # as in the library
        """Stop writing where nobody reads."""
        if isinstance(sys.exc_info()[1], BrokenPipeError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.stream.fileno())
            os.close(nowhere)
        else:
            super().handleError(record)


def run() -> None:
    """Run the command line of this process; what a user can mend ends in a sentence."""
    prepare_process()
    show_messages(Terminal(sys.stdout))
    with sentences():
        main()


def main(args: Sequence[str] | None = None) -> None:
    """Run the subcommand that ``args`` (the command line when absent) name.

    Raises:
        NerfcompError: There is no such command, or what it says of its input.
    """
    words = list(sys.argv[1:] if args is None else args)
    if words == ["--version"]:
        sys.stdout.write(f"nerfcomp {nerfcomp.__version__}\n")
        return
    name, rest = find_command(words)
    if name not in COMMANDS:
        sys.stdout.write(help_text(name))
        return
    module, function_name = COMMANDS[name].place.split(":")
    function = getattr(importlib.import_module(f"nerfcomp.commands.{module}"), function_name)
    parser = build_parser(function, f"{PROGRAM} {name}")
    values = parser.instantiate_classes(parser.parse_args(positional_first(function, rest)))
    given = {key: value for key, value in vars(values).items() if key not in ("config", "device")}
    if (device := getattr(values, "device", None)) is not None:
        use_device(device)
    function(**given)


def find_command(words: Sequence[str]) -> tuple[str, list[str]]:
    """Split a command line into the name of a command, or of a group that help is wanted for, and its arguments.

    Raises:
        NerfcompError: There is no such command.

    >>> find_command(["import_ngp_pl", "a.ckpt"])
    ('import ngp-pl', ['a.ckpt'])
    >>> find_command(["export", "--help"])
    ('export', [])
    """
    if not words or words[0] in _HELP:
        return "", []
    first, rest = words[0], list(words[1:])
    members = [name.split()[1] for name in COMMANDS if name.startswith(f"{first} ")]
    if members and (not rest or rest[0] in _HELP):
        return first, []
    if members and rest[0] in members:
        return f"{first} {rest[0]}", rest[1:]
    if first in FORMER_NAMES and not (members and not rest[0].startswith("-")):
        return FORMER_NAMES[first], rest
    if first in COMMANDS:
        return first, rest
    if members:
        raise NerfcompError(f"{PROGRAM} cannot {first} {rest[0]!r}; it can {first} {', '.join(members)}.")
    raise NerfcompError(f"There is no command {first!r}; {PROGRAM} --help lists {', '.join(COMMANDS)}.")


def help_text(group: str = "") -> str:
    """Say in a line each what the commands, or those of a group, do."""
    lines = [f"usage: {PROGRAM} {group or 'COMMAND'} ... ", "", "Compress a trained field to one small file and back."]
    width = max(map(len, COMMANDS))
    for section, commands in SECTIONS.items():
        shown = {name: text for name, (_, text) in commands.items() if not group or name.startswith(f"{group} ")}
        lines += ["", f"{section}:"] if shown else []
        lines += [f"  {name:{width}}  {text.replace('``', '')}" for name, text in shown.items()]
    lines += ["", f"{PROGRAM} COMMAND --help explains the options of a command."]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def positional_first(function: Callable[..., None], args: Sequence[str]) -> list[str]:
    """Take arguments that used to have a name, or are given by name, as what they are without one.

    >>> def info(input: str) -> None: ...
    >>> positional_first(info, ["--out", "b", "--ckpt", "a"])
    ['a', '--out', 'b']
    """
    names = [f"--{name}" for name in inspect.signature(function).parameters if name in POSITIONAL]
    first, rest = _given((*names[:1], *(FORMER_OPTIONS if len(names) == 1 else ())), args)
    last, rest = _given(names[1:], rest)
    return [*first, *rest, *last]


def _given(names: Sequence[str], args: Sequence[str]) -> tuple[list[str], list[str]]:
    """Values of some options, and the arguments without them."""
    values, rest, left = list[str](), list[str](), list(args)
    while left:
        word = left.pop(0)
        name, equals, value = word.partition("=")
        if name in names and (equals or left):
            values.append(value if equals else left.pop(0))
        else:
            rest.append(word)
    return values, rest


def _refuse(parser: "ArgumentParser", message: str, error: Exception | None = None) -> NoReturn:
    """End in a few lines with the nearest option that there is."""
    from nerfcomp.option_errors import refused

    known = [name for action in parser._actions for name in action.option_strings if name.startswith("--")]
    sys.stderr.write(refused(parser.prog, message, known) + "\n")
    sys.exit(2)


def build_parser(function: Callable[..., None], program: str) -> "ArgumentParser":
    """Make the options of a function's parameters, explained by its docstring."""
    from docstring_parser import parse
    from jsonargparse import ArgumentParser

    doc = parse(inspect.getdoc(function) or "")
    parts = [part for part in (doc.short_description, doc.long_description) if part]
    parser = ArgumentParser(prog=program, description=" ".join(parts))
    parser.error = partial(_refuse, parser)  # type: ignore[method-assign]
    parser.add_argument("--config", action="config", help="Path to a configuration file.")
    parser.add_argument("--device", type=str, help="Where models compute: cpu (unless said otherwise), cuda or cuda:N.")
    parameters = inspect.signature(function).parameters
    named: set[str | int] = {name for name in parameters if name not in POSITIONAL}
    positional = [name for name in parameters if name in POSITIONAL]
    optional = [name for name in positional if parameters[name].default is not inspect.Parameter.empty]
    parser.add_function_arguments(function, as_group=False, as_positional=True, skip={*named, *optional})
    for name in optional:
        text = next((entry.description for entry in doc.params if entry.arg_name == name), None)
        kind, default = parameters[name].annotation, parameters[name].default
        parser.add_argument(name, nargs="?", type=kind, default=default, help=text)
    parser.add_function_arguments(function, as_group=False, as_positional=False, skip={*positional})
    return parser
