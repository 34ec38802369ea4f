"""Searching over one integer quality setting."""

from collections.abc import Callable


def largest_passing(passes: Callable[[int], bool], low: int, high: int) -> int:
    """Find the largest setting that still passes, by bisection.

    Args:
        passes: Whether a setting is good enough; taken to pass up to some point and to fail beyond it.
        low: Smallest setting allowed.
        high: Largest setting allowed, >= low.

    Returns:
        The largest passing setting found.

    Raises:
        ValueError: Not even ``low`` passes.

    >>> largest_passing(lambda qp: qp <= -23, -50, 0)
    -23
    """
    if not passes(low):
        raise ValueError(
            f"The target cannot be met: none of the settings from {low} to {high} meets it. Relax the target."
        )
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if passes(middle) else (low, middle - 1)
    return low
