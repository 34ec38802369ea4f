"""The arithmetic decoder of ISO/IEC 15938-17 (NNC) in integers: from bytes to the levels of one tensor.

Safe for bytes of unknown origin: every read of the stream is compared with its end, every index into a table is masked
or comes from a loop with a known end, and the work is bounded by the number of levels that the caller asks for.

Notation:
    bin        one binary decision; with a *context* it is predicted, without one it costs exactly one bit
    context    two estimates of how likely a bin is 1, one fast and one slow, as signed numbers: ``fast`` in units of
               1/16 of ``slow``; their sum is what predicts
    start      a number of 0 to 8 in front of the levels: from which estimates and with which rates a context begins
    index      what is coded for a level; with dependent quantization ``level = 2 * index - sign * (state & 1)``
    neighbour  sign of the index before: 0 zero, 1 negative, 2 positive
    unary      how many flags "greater than 1, 2, ..." come before the Exp-Golomb code of the rest

Source: the syntax and the inference process of the standard (its clauses on DeepCABAC); tables as it prints them.
"""

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from nerfcomp.codec.cabac_tables import CURVE, DOUBLINGS, LESS_LIKELY, NEXT, STARTS

Bytes = NDArray[np.uint8]
Words = NDArray[np.int64]
POSITION, VALUE, RANGE, NEEDED, END = 0, 1, 2, 3, 4
GOOD, SHORT, TOO_LARGE, ASTRAY = 0, 1, 2, 3  # what came of decoding
_ZERO, _SIGN, _GREATER, _ESCAPES = 0, 24, 27, 31  # the first context of each kind; escapes: how many
_LARGEST = 2**31 - 1
_WIDEST, _FULL = 510, 256  # range at the start and at an entry point
_kernel = numba.njit(cache=True, nogil=True, error_model="numpy")
_inlined = numba.njit(cache=True, nogil=True, error_model="numpy", forceinline=True)


class Layout(NamedTuple):
    """How the levels of one tensor lie in its unit."""

    rows: int  # size of the first dimension
    width: int  # product of the others
    dependent: bool  # quantization
    unary: int  # 1 to 256
    block: int = 0  # side of the blocks in which levels are scanned; 0 row by row


def begin(data: Bytes, first: int, last: int) -> Words:
    """Start decoding.

    Args:
        data: The stream.
        first, last: Where the coded bytes begin and end in it.

    Returns:
        (5,) state of the decoder, which the other functions advance.

    Raises:
        ValueError: Fewer than two bytes, or two that no encoder begins with.

    >>> begin(np.frombuffer(bytes([1, 2, 3]), np.uint8), 0, 3).tolist()
    [2, 258, 510, -8, 3]
    """
    value = int.from_bytes(data[first : min(first + 2, last)].tobytes(), "big")
    if first < 0 or not first + 2 <= last <= len(data) or value >= _WIDEST << 7:
        raise ValueError("the coded bytes do not begin as any encoder begins")
    return np.array([first + 2, value, _WIDEST, -8, last], np.int64)


@_kernel
def read_bits(decoder: Words, data: Bytes, count: int) -> int:
    """Read ``count`` bins without contexts as a number, highest first.

    >>> data = np.frombuffer(bytes([0b10110000, 0, 0]), np.uint8)
    >>> read_bits(begin(data, 0, 3), data, 3)
    5
    """
    place, value, size, needed, end = decoder
    bits, place, value, needed = _bits(data, end, count, place, value, size, needed)
    decoder[POSITION], decoder[VALUE], decoder[NEEDED] = place, value, needed
    return bits


def read_levels(decoder: Words, data: Bytes, layout: Layout, entries: Words, levels: NDArray[np.int32]) -> int:
    """Decode all levels of a tensor.

    Args:
        decoder: State; advanced.
        data: The stream.
        layout: Sizes and tools.
        entries: (blocks of rows - 1, 3) value, state and distance in bits that the unit gives for each further block
            of rows, if levels are scanned in blocks.
        levels: (rows * width,) zeros, filled.

    Returns:
        GOOD; SHORT if the stream ends before; TOO_LARGE for levels beyond 32 bits; ASTRAY if an entry is another.
    """
    assert levels.size == layout.rows * layout.width > 0 and 0 < layout.unary <= 256
    assert len(entries) == (-(-layout.rows // layout.block) - 1 if layout.block else 0)
    contexts = np.zeros((_GREATER + 2 * layout.unary + _ESCAPES + 2, 5), np.int64)
    skipped = np.zeros(layout.rows, np.bool_)
    block = (layout.block, layout.block) if layout.block else (layout.rows, layout.width)
    _prepare(decoder, data, contexts, skipped, layout.width, layout.dependent)
    status: int = _scan(decoder, data, contexts, skipped, block, layout.width, layout.dependent, entries, levels)
    return status


@_kernel
def ended(decoder: Words) -> bool:
    """Whether the stream says here that it ends, and does.

    >>> ended(begin(np.frombuffer(bytes([254, 0, 0]), np.uint8), 0, 2))
    True
    """
    at_end: bool = decoder[VALUE] >= (decoder[RANGE] - 2) << 7 and decoder[POSITION] == decoder[END]
    return at_end


@_inlined
def _byte(data: Bytes, end: int, place: int) -> int:
    """The next byte; 0 beyond the end, which is noticed afterwards."""
    return np.int64(data[place]) if place < end else np.int64(0)  # type: ignore[return-value]


@_inlined
def _bits(
    data: Bytes, end: int, count: int, place: int, value: int, size: int, needed: int
) -> tuple[int, int, int, int]:
    """Read bins without contexts; the number, then the decoder's new place, value and needed bits."""
    bits = 0
    for _ in range(count):
        value += value
        needed += 1
        if needed >= 0:
            value += _byte(data, end, place)
            place += 1
            needed = -8
        bits += bits
        if value >= size << 7:
            value -= size << 7
            bits += 1
    return bits, place, value, needed


@_inlined
def _bin(
    data: Bytes, end: int, contexts: Words, which: int, place: int, value: int, size: int, needed: int
) -> tuple[int, int, int, int, int]:
    """Read one bin with a context, which learns; the bin, then the decoder's new place, value, range, needed bits."""
    fast, slow = contexts[which, 0], contexts[which, 1]
    both = (fast << 4) + slow
    less = LESS_LIKELY[(size & 0xE0) + (abs(both >> 7) & 31)]
    size -= less
    found = 1 if both >= 0 else 0
    if value >= size << 7:
        value -= size << 7
        size = less
        found = 1 - found
    steps = DOUBLINGS[size & 511]
    size <<= steps
    value <<= steps
    needed += steps
    if needed >= 0:
        value += _byte(data, end, place) << needed
        place += 1
        needed -= 8
    if found:
        contexts[which, 0] = fast + (CURVE[(16 + (fast >> 3)) & 31] >> contexts[which, 2])
        contexts[which, 1] = slow + (CURVE[(16 + (slow >> 7)) & 31] >> contexts[which, 3])
    else:
        contexts[which, 0] = fast - (CURVE[(16 + (-fast >> 3)) & 31] >> contexts[which, 2])
        contexts[which, 1] = slow - (CURVE[(16 + (-slow >> 7)) & 31] >> contexts[which, 3])
    return found, place, value, size, needed


@_kernel
def _reset(contexts: Words) -> None:
    """Bring every context to its start."""
    for which in range(len(contexts)):
        contexts[which, :4] = STARTS[contexts[which, 4]]


@_kernel
def _prepare(
    decoder: Words, data: Bytes, contexts: Words, skipped: NDArray[np.bool_], width: int, dependent: bool
) -> None:
    """Read which rows are skipped and how contexts start."""
    place, value, size, needed, end = decoder
    _reset(contexts)
    if width > 1 and len(skipped) > 1:
        flag, place, value, needed = _bits(data, end, 1, place, value, size, needed)
        if flag:
            last = len(contexts) - 1
            for row in range(len(skipped)):
                flag, place, value, size, needed = _bin(data, end, contexts, last, place, value, size, needed)
                skipped[row] = flag == 1
    for which in range(len(contexts) - 2):
        if dependent or not 3 <= which < _SIGN:
            start, last = 0, len(contexts) - 2
            flag, place, value, size, needed = _bin(data, end, contexts, last, place, value, size, needed)
            if flag:
                start, place, value, needed = _bits(data, end, 3, place, value, size, needed)
                start += 1
            contexts[which, 4] = start
    _reset(contexts)
    decoder[POSITION], decoder[VALUE], decoder[RANGE], decoder[NEEDED] = place, value, size, needed


@_kernel
def _after_zeros(count: int) -> Words:
    """(8,) State after ``count`` indices of zero, for each state before."""
    total, power = np.arange(8), NEXT[:, 0].copy()
    while count > 0:
        if count & 1:
            total = power[total]
        power = power[power]
        count >>= 1
    return total


@_inlined
def _index(
    data: Bytes, end: int, contexts: Words, neighbour: int, unary: int, place: int, value: int, size: int, needed: int
) -> tuple[int, int, int, int, int]:
    """Read an index that is not 0; the index, then the decoder's new place, value, range, needed bits."""
    negative, place, value, size, needed = _bin(data, end, contexts, _SIGN + neighbour, place, value, size, needed)
    index, flags, more = 1, 0, 1
    while more == 1 and flags < unary:
        which = _GREATER + 2 * flags + negative
        more, place, value, size, needed = _bin(data, end, contexts, which, place, value, size, needed)
        index += more
        flags += 1
    length, base = 0, _GREATER + 2 * unary
    while more == 1 and length < _ESCAPES:
        more, place, value, size, needed = _bin(data, end, contexts, base + length, place, value, size, needed)
        if more == 1:
            index += 1 << length
            length += 1
    rest, place, value, needed = _bits(data, end, length, place, value, size, needed)
    index += rest
    return -index if negative else index, place, value, size, needed


@_kernel
def _scan(
    decoder: Words,
    data: Bytes,
    contexts: Words,
    skipped: NDArray[np.bool_],
    block: tuple[int, int],
    width: int,
    dependent: bool,
    entries: Words,
    levels: NDArray[np.int32],
) -> int:
    """Read the levels block by block; see `read_levels`."""
    place, value, size, needed, end = decoder
    unary = (len(contexts) - _GREATER - _ESCAPES - 2) // 2
    rows, state, neighbour = len(skipped), 0, 0
    after_row = _after_zeros(width) if dependent else np.zeros(8, np.int64)
    if block[0] < rows:
        size = _FULL
        if value >= size << 7:
            return ASTRAY
    bits = 8 * place + needed
    for top in range(0, rows, block[0]):
        if top > 0:
            entry = entries[top // block[0] - 1]
            if entry[0] != value >> 7 or (dependent and entry[1] != state) or entry[2] != 8 * place + needed - bits:
                return ASTRAY
            bits, size, neighbour = 8 * place + needed, _FULL, 0
            _reset(contexts)
        for left in range(0, width, block[1]):
            for row in range(top, min(top + block[0], rows)):
                if skipped[row]:
                    state = after_row[state]
                    continue
                for at in range(row * width + left, row * width + min(left + block[1], width)):
                    which = 3 * state + neighbour
                    found, place, value, size, needed = _bin(data, end, contexts, which, place, value, size, needed)
                    if found == 0:
                        neighbour = 0
                        if dependent:
                            state = NEXT[state, 0]
                        continue
                    level, place, value, size, needed = _index(
                        data, end, contexts, neighbour, unary, place, value, size, needed
                    )
                    neighbour = 1 if level < 0 else 2
                    if dependent:
                        half = state & 1
                        state = NEXT[state, level & 1]
                        level = 2 * level + (half if level < 0 else -half)
                    if level > _LARGEST or level < -_LARGEST - 1 or place > end:
                        return SHORT if place > end else TOO_LARGE
                    levels[at] = level
                if place > end:
                    return SHORT
    decoder[POSITION], decoder[VALUE], decoder[RANGE], decoder[NEEDED] = place, value, size, needed
    return GOOD
