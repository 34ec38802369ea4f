"""What is loaded when it is asked for: names of a package, so that importing it loads none, and optional libraries."""

import importlib
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from nerfcomp.errors import MissingExtraError


def lazy_names(package: str, places: Mapping[str, Iterable[str]]) -> Callable[[str], Any]:
    """Make the ``__getattr__`` of a package.

    Args:
        package: Its ``__name__``.
        places: Public names by the module in ``package`` that defines them.

    Returns:
        The function; it keeps what it has loaded in the package.

    >>> getattr_ = lazy_names("nerfcomp", {"files": ["atomic_write"]})
    >>> getattr_("atomic_write").__module__
    'nerfcomp.files'
    >>> getattr_("nothing")
    Traceback (most recent call last):
    ...
    AttributeError: module 'nerfcomp' has no attribute 'nothing'
    """
    modules = {name: module for module, names in places.items() for name in names}

    def load(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f"{package}.{modules[name]}"), name)
        setattr(sys.modules[package], name, value)
        return value

    return load


def import_extra(module: str, missing: str) -> Any:
    """Import a library that not everybody has installed.

    Args:
        module: Its dotted name.
        missing: What to say where it is not: what needs it, and the command that installs it.

    Raises:
        MissingExtraError: It is not installed.

    >>> import_extra("json", "").loads("[1]")
    [1]
    >>> import_extra("no_such_library", "Nothing needs it.")
    Traceback (most recent call last):
    ...
    nerfcomp.errors.MissingExtraError: Nothing needs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(missing) from error
