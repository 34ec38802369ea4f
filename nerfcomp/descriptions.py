"""Objects described by class path and plain arguments, as checkpoints and bitstreams carry them."""

import inspect
from collections.abc import Mapping
from types import UnionType
from typing import Any, NamedTuple, get_args

from nerfcomp.errors import ContainerError
from nerfcomp.limits import check_plain


class Description(NamedTuple):
    """A class and the arguments that build one of its objects; JSON values only."""

    class_path: str
    init_args: dict[str, Any]

    @classmethod
    def from_json(cls, value: Any) -> "Description":
        """Check the shape of a description read from a file.

        Raises:
            ContainerError: Not an object with exactly a class path and arguments.
        """
        if not (
            isinstance(value, dict)
            and set(value) == {"class_path", "init_args"}
            and isinstance(value["class_path"], str)
            and isinstance(value["init_args"], dict)
        ):
            raise ContainerError(f"Expected an object with class_path and init_args, found {str(value)[:80]!r}.")
        return cls(value["class_path"], value["init_args"])


def own_arguments(values: Mapping[str, Any], *without: str) -> dict[str, Any]:
    """Arguments of a constructor, to be kept for a description.

    Args:
        values: The constructor's ``locals()``, before it has any other variable.
        without: Arguments that a description leaves out.

    >>> own_arguments({"self": None, "width": 3, "backend": "auto", "__class__": None}, "backend")
    {'width': 3}
    """
    return {key: value for key, value in values.items() if key not in ("self", "__class__", *without)}


def require_between(least: float, most: float | None = None, **numbers: float | None) -> None:
    """Check arguments of a constructor; those that are absent are left out.

    Args:
        least: Smallest allowed value.
        most: Largest allowed value, if there is one.
        **numbers: Name and value of each argument.

    Raises:
        ValueError: If one is outside.

    >>> require_between(1, levels=3, val_views=None)
    >>> require_between(1, 64, levels=99)
    Traceback (most recent call last):
    ...
    ValueError: levels must lie between 1 and 64, got 99.
    """
    for name, value in numbers.items():
        if value is not None and most is not None and not least <= value <= most:
            raise ValueError(f"{name} must lie between {least} and {most}, got {value}.")
        if value is not None and not least <= value:
            raise ValueError(f"{name} is {value}; it must be at least {least}")


def checked_class(description: Description, allowed: Mapping[str, type]) -> type:
    """Find the class that a file of unknown origin asks for.

    Args:
        description: Class path and arguments, not trusted.
        allowed: Classes that may be built, by class path.

    Returns:
        The class; its arguments have known names and, where the annotation is a plain type, that very type.

    Raises:
        ContainerError: Another class, an unknown argument or one of the wrong type.
    """
    cls = allowed.get(description.class_path)
    if cls is None:
        raise ContainerError(
            f"The file asks for the class {description.class_path!r}; only {', '.join(sorted(allowed))} may be built."
        )
    check_plain(description.init_args)
    known = inspect.signature(cls).parameters
    for key, value in description.init_args.items():
        if key not in known:
            raise ContainerError(f"The file gives {cls.__name__} the unknown argument {key!r}; it takes {list(known)}.")
        expected = known[key].annotation
        kinds = get_args(expected) if isinstance(expected, UnionType) else (expected,)
        if all(isinstance(kind, type) for kind in kinds) and type(value) not in kinds:
            found, wanted = str(value)[:80], " or ".join(kind.__name__ for kind in kinds)
            raise ContainerError(f"The file gives {key}={found!r}; {cls.__name__} needs {wanted} there.")
    return cls
