"""Subcommands of ``compress.py`` that take more than a page."""

from collections.abc import Sequence

from nerfcomp.commands.lsa import lsa
from nerfcomp.commands.results import bdrate, plot

__all__ = ["bdrate", "lsa", "plot", "with_names"]
_POSITIONAL = {"plot": ("--result",), "bdrate": ("--first", "--second")}


def with_names(args: Sequence[str]) -> list[str]:
    """Give arguments without a name the names that their subcommand expects in their place.

    >>> with_names(["bdrate", "a.csv", "b.csv"])
    ['bdrate', '--first', 'a.csv', '--second', 'b.csv']
    """
    names = _POSITIONAL.get(args[0], ()) if args else ()
    named, rest = list(args[:1]), list(args[1:])
    for name in names:
        if rest and not rest[0].startswith("-"):
            named += [name, rest.pop(0)]
    return named + rest
