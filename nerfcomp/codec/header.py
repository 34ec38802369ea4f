"""The JSON header of a ``.nfc`` file: bounded, canonical, finite numbers only."""

import json
import math
from collections.abc import Mapping
from typing import Any, NoReturn

from nerfcomp.errors import ContainerError

MAX_HEADER = 2**20
MAX_DEPTH = 16
MAX_TENSORS = 4096
MAX_INTEGER = 2**63


def dump_header(header: Mapping[str, Any]) -> bytes:
    """Write a header as canonical JSON: keys sorted, no spaces, UTF-8.

    Args:
        header: Plain JSON values: str keys, str, bool, int, finite float, None, lists, objects.

    Returns:
        The JSON text.

    Raises:
        ContainerError: A value that JSON or :func:`load_header` does not allow.

    >>> dump_header({"near": 2.0, "aabb": [-1, 1]})
    b'{"aabb":[-1,1],"near":2.0}'
    """
    try:
        text = json.dumps(header, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        data = text.encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        raise ContainerError(f"The header cannot be written as JSON: {error}. Use plain finite values.") from error
    load_header(data)
    return data


def load_header(data: bytes) -> dict[str, Any]:
    """Read what :func:`dump_header` wrote.

    Args:
        data: JSON text of at most 1 MiB.

    Returns:
        The header.

    Raises:
        ContainerError: Too long, too deep, not UTF-8, not JSON, not an object, a key twice, or a number that is not
            finite or beyond 64 bits.

    >>> load_header(b'{"near":2.0}')
    {'near': 2.0}
    """
    if len(data) > MAX_HEADER:
        raise ContainerError(f"The header has {len(data)} bytes; at most {MAX_HEADER} are allowed.")
    try:
        header = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_unique_keys,
            parse_constant=_refuse_constant,
            parse_int=_bounded_int,
        )
    except (ValueError, RecursionError) as error:
        if isinstance(error, ContainerError):
            raise
        raise ContainerError(f"The header is not valid JSON ({error}); the file is damaged.") from error
    if not isinstance(header, dict):
        raise ContainerError("The header must be a JSON object; the file is damaged.")
    _check_value(header, 0)
    return header


def element_count(shape: tuple[int, ...]) -> int:
    """Number of elements of ``shape``, exact however large.

    >>> element_count((2**40, 2**40)) == 2**80
    True
    """
    return math.prod(shape)


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) != len(pairs):
        raise ContainerError("The header names a key twice; the file cannot be used.")
    return dict(pairs)


def _refuse_constant(name: str) -> NoReturn:
    raise ContainerError(f"The header holds {name}; only finite numbers are allowed.")


def _bounded_int(text: str) -> int:
    if len(text) > 20 or not -MAX_INTEGER <= int(text) < MAX_INTEGER:
        raise ContainerError(f"The header holds the number {text[:20]}...; 64 bits are allowed.")
    return int(text)


def _check_value(value: Any, depth: int) -> None:
    """Refuse deep nesting and infinite numbers (JSON reads 1e999 as one)."""
    if depth > MAX_DEPTH:
        raise ContainerError(f"The header is nested deeper than {MAX_DEPTH} levels; the file cannot be used.")
    if isinstance(value, float) and not math.isfinite(value):
        raise ContainerError("The header holds a number that is not finite; only finite ones are allowed.")
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            _check_value(item, depth + 1)
