"""What a refused command line says: three lines, with the nearest option that there is."""

import difflib
import importlib
import inspect
import re
from collections.abc import Sequence

_CLASS = re.compile(r"Problem with given class_path '([\w.]+)'")
_OPTION = re.compile(r"Option '([^']*)' is not accepted")
_KEY = re.compile(r'Parser key "([^"]*)"')
_FOUND = re.compile(r"(Expected .*?)\. Got value: (.*)")
_NO_CLASS = re.compile(r"Expected a dot import path string: (.*)")
_UNION = re.compile(r"Subtypes: \[(.*)\]\n.*Given value: ([^\n]*)", re.DOTALL)


def refused(program: str, message: str, options: Sequence[str]) -> str:
    """Say in three lines at most why a command line is refused.

    Args:
        program: With its subcommand.
        message: What jsonargparse says.
        options: All options of the program, with their dashes.

    >>> print(refused("compress.py encode", "unrecognized arguments: --qb 3", ["--qp", "--out"]))
    Error: there is no option --qb.
    Did you mean --qp?
    compress.py encode --help says what there is.
    """
    more = f"{program} --help says what there is."
    if match := re.search(r"unrecognized arguments: (\S+)", message, re.IGNORECASE):
        word = match[1].partition("=")[0]
        return _joined(f"there is no option {word}.", _nearest(word, options), more)
    found, match = _FOUND.search(message), _OPTION.search(message)
    if match and not (found and _KEY.findall(message[: found.start()])[-1:] == [match[1]]):  # known to another class
        owners = _CLASS.findall(message[: match.start()])
        known = _arguments(owners[-1]) if owners else []
        owner = f" of {owners[-1].rpartition('.')[2]}" if owners else ""
        return _joined(f"there is no argument {match[1]!r}{owner}.", _nearest(match[1], known), more)
    if found:
        keys = ".".join(_KEY.findall(message[: found.start()]))
        return _joined(f"{keys} is {found[2]!r}. {_in_words(found[1])}.", "", more)
    if match := _NO_CLASS.search(message):
        keys = ".".join(_KEY.findall(message[: match.start()]))
        return _joined(f"{keys}: there is no class {match[1]!r} that fits here.", "", more)
    if match := _UNION.search(message):
        keys = ".".join(_KEY.findall(message[: match.start()]))
        kinds = match[1].partition("]\n")[0].replace(", <class 'NoneType'>", "")
        return _joined(f"{keys} is {match[2]!r}. Expected {_in_words(kinds)}.", "", more)
    return f"Error: {message}\n{more}"


def _in_words(expected: str) -> str:
    """What is expected, without Python's words for types.

    >>> _in_words("Expected a typing.Literal['a', 'b']"), _in_words("Expected a <class 'float'>")
    ("Expected one of 'a', 'b'", 'Expected float')
    """
    expected = re.sub(r"(?:a )?<class '([\w.]+)'>", r"\1", expected)
    return re.sub(r"(?:a )?typing\.Literal\[([^\]]*)\]", r"one of \1", expected)


def _joined(found: str, nearest: str, more: str) -> str:
    return "\n".join(line for line in (f"Error: {found}", nearest, more) if line)


def _nearest(word: str, known: Sequence[str]) -> str:
    """A question with the one name that looks most like a word; where none does, all of them if they are few."""
    last = {name.rpartition(".")[2].lstrip("-"): name for name in reversed(known)}
    found = difflib.get_close_matches(word, known, 1) or difflib.get_close_matches(
        word.rpartition(".")[2].lstrip("-"), list(last), 1
    )
    if found:
        return f"Did you mean {last.get(found[0], found[0])}?"
    return f"There are {', '.join(known)}." if 0 < len(known) <= 24 else ""


def _arguments(path: str) -> list[str]:
    """Names of the arguments of a class."""
    module, _, name = path.rpartition(".")
    try:
        return list(inspect.signature(getattr(importlib.import_module(module), name)).parameters)
    except (ImportError, AttributeError, TypeError, ValueError):
        return []
