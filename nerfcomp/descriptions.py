"""Objects described by class path and plain arguments, as checkpoints and bitstreams carry them."""

import inspect
from collections.abc import Mapping
from typing import Any, NamedTuple

from nerfcomp.errors import ContainerError


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
    known = inspect.signature(cls).parameters
    for key, value in description.init_args.items():
        if key not in known:
            raise ContainerError(f"The file gives {cls.__name__} the unknown argument {key!r}; it takes {list(known)}.")
        expected = known[key].annotation
        if isinstance(expected, type) and type(value) is not expected:
            raise ContainerError(f"The file gives {key}={value!r}; {cls.__name__} needs {expected.__name__} there.")
    return cls
