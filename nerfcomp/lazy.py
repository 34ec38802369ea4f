"""Names of a package whose modules are loaded when they are asked for, so that importing the package loads none."""

import importlib
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any


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
