"""The 8-state trellis of dependent quantization, with what the entropy coder will charge for each level.

Notation:
    scaled     value / step
    level      multiple of the step that is decoded, int32; quantizer 0 has the even ones, quantizer 1 the odd and 0
    index      what is coded for a level: ``(abs(level) + quantizer) // 2`` with the level's sign
    state      0 to 7; its last bit is the quantizer, the parity of the index leads to the next state
    neighbour  sign of the index before: 0 zero, 1 negative, 2 positive; with the state the context of the zero flag
               (ISO/IEC 15938-17, 11; the fine print is in nncodec's CABAC encoder)
    cost       ``weight * (scaled - level)^2 + bits``, summed along a path (Viterbi)
"""

from typing import NamedTuple

import numba
import numpy as np

FLAGS = 11
MAGNITUDES = 256
MIN_FLAG_BITS = 310 / 32768  # what the surest flag costs in this coder
_NEXT = np.array([[0, 2], [7, 5], [1, 3], [6, 4], [2, 0], [5, 7], [3, 1], [4, 6]], np.int64)
_PREVIOUS = np.array([[0, 4], [2, 6], [0, 4], [2, 6], [3, 7], [1, 5], [3, 7], [1, 5]], np.int64)
_NEVER = 0.5 * np.finfo(np.float64).max
_kernel = numba.njit(cache=True, nogil=True, error_model="numpy")


class Rates(NamedTuple):
    """Bits of the flags that code an index."""

    zero: np.ndarray  # (8, 3, 2) float64 by state, neighbour, and whether the index is not zero
    sign: np.ndarray  # (3, 2) float64 by neighbour and sign, 1 is negative
    magnitude: np.ndarray  # (2, MAGNITUDES) float64 by sign and abs(index), at most MAGNITUDES - 1


class Counts(NamedTuple):
    """How often each flag occurs in a tensor; axes as in `Rates`, ``more`` by sign and number of flags before."""

    zero: np.ndarray  # (8, 3, 2) int64
    sign: np.ndarray  # (3, 2) int64
    more: np.ndarray  # (2, FLAGS, 2) int64
    escapes: np.ndarray  # (32,) int64 by bit length - 1 of index - FLAGS


def count_flags(levels: np.ndarray, dependent: bool) -> Counts:
    """Count the flags that coding ``levels`` (any shape, int32) takes.

    >>> count_flags(np.array([0, 2, -4], np.int32), dependent=False).zero[0].tolist()
    [[1, 1], [0, 0], [0, 1]]
    """
    counts = Counts(
        np.zeros((8, 3, 2), np.int64),
        np.zeros((3, 2), np.int64),
        np.zeros((2, FLAGS, 2), np.int64),
        np.zeros(32, np.int64),
    )
    _count(levels.reshape(-1), dependent, _NEXT, counts)
    return counts


def rates_from(counts: Counts) -> Rates:
    """Price each flag by its frequency, as an adaptive coder would.

    >>> rates = rates_from(count_flags(np.array([2, 0] * 50, np.int32), dependent=True))
    >>> bool(rates.magnitude[0, 1] < 0.1 < 3 < rates.magnitude[0, 2])
    True
    """
    more, lengths = _bits(counts.more), _bits(counts.escapes)
    magnitude = np.zeros((2, MAGNITUDES))
    for index in range(1, MAGNITUDES):
        passed = min(index - 1, FLAGS)
        magnitude[:, index] = more[:, :passed, 1].sum(axis=1)
        if index <= FLAGS:
            magnitude[:, index] += more[:, index - 1, 0]
        else:
            length = (index - FLAGS).bit_length() - 1
            magnitude[:, index] += lengths[length] + length
    return Rates(_bits(counts.zero), _bits(counts.sign), magnitude)


def total_bits(counts: Counts) -> float:
    """Estimate the coded size in bits from the frequencies of all flags.

    >>> total_bits(count_flags(np.array([2, 0] * 50, np.int32), dependent=False)) < 20
    True
    """
    flags = sum(float((_bits(part) * part).sum()) for part in counts)
    return flags + float((counts.escapes * np.arange(32)).sum())


def _bits(counts: np.ndarray) -> np.ndarray:
    smooth = counts + 0.4
    bits: np.ndarray = -np.log2(smooth / smooth.sum(axis=-1, keepdims=True))
    return bits.clip(MIN_FLAG_BITS)


def find_levels(values: np.ndarray, step: float, keep_zeros: bool = False) -> np.ndarray:
    """Find the levels of least squared error: bit for bit what nncodec's own trellis finds, several times faster.

    Args:
        values: (n,) float32.
        step: Quantization step.
        keep_zeros: Values that are exactly zero get level 0. nncodec gives a few of them up: their neighbours gain more
            by the other quantizer than the one step that it costs.

    Returns:
        (n,) int32 levels.

    >>> find_levels(np.array([1.2, 0.1], np.float32), 1.0)
    array([2, 0], dtype=int32)
    """
    scale = 1.0 / np.float64(np.float32(step))
    choices = np.empty(len(values), np.uint16)
    state = _search(values, scale, keep_zeros, choices)
    levels = np.empty(len(values), np.int32)
    _trace(values, scale, choices, state, levels)
    return levels


def find_cheap_levels(values: np.ndarray, step: float, weights: np.ndarray, rates: Rates) -> np.ndarray:
    """Find the levels of least squared error and bits together; values that are exactly zero get level 0.

    Args:
        values: (n,) float32.
        step: Quantization step.
        weights: (n,) float64, >= 0: what one squared step of error costs, in bits.
        rates: What each index costs.

    Returns:
        (n,) int32 levels.

    >>> values = np.array([1.2, 0.1, 0.9], np.float32)
    >>> find_cheap_levels(values, 1.0, np.zeros(3), rates_from(count_flags(np.zeros(3, np.int32), True)))
    array([0, 0, 0], dtype=int32)
    """
    scale = 1.0 / np.float64(np.float32(step))
    decisions = np.empty((len(values), 8), np.int8)
    state = _search_cheap(values, scale, weights, rates, _NEXT, decisions)
    levels = np.empty(len(values), np.int32)
    _trace_cheap(values, scale, decisions, state, levels)
    return levels


@_kernel
def _count(levels: np.ndarray, dependent: bool, following: np.ndarray, counts: Counts) -> None:
    state, neighbour = 0, 0
    for level in levels:
        size = abs(int(level))
        index = (size + (state & 1)) >> 1 if dependent and size > 0 else size
        counts.zero[state, neighbour, 1 if index > 0 else 0] += 1
        if index > 0:
            sign = 1 if level < 0 else 0
            counts.sign[neighbour, sign] += 1
            for flag in range(min(index, FLAGS)):
                counts.more[sign, flag, 1 if index > flag + 1 else 0] += 1
            rest, length = index - FLAGS, -1
            while rest > 0:
                rest >>= 1
                length += 1
            if length >= 0:
                counts.escapes[length] += 1
            neighbour = 2 - sign
        else:
            neighbour = 0
        if dependent:
            state = following[state, index & 1]


@_kernel
def _search(values: np.ndarray, scale: float, keep_zeros: bool, choices: np.ndarray) -> int:
    """Run the trellis forward; return the cheapest last state.

    ``choices`` (n,) gets bit 0 to 7: whether the state came from its second predecessor (see `_trace`); bit 8 and 9:
    whether the best even index of quantizer 0 and 1 is zero.
    """
    a, b, c, d, e, f, g, h = 0.0, _NEVER, _NEVER, _NEVER, _NEVER, _NEVER, _NEVER, _NEVER
    distortion = np.empty(4)
    for i in range(len(values)):
        scaled = scale * abs(np.float64(values[i]))
        smallest = max(1, int(scaled) - 1)
        for level in range(smallest, smallest + 4):
            distortion[level & 3] = (scaled - level) * (scaled - level)
        zero = scaled * scaled
        if keep_zeros and values[i] == 0:
            distortion[:] = _NEVER
        even_0, odd_0 = min(distortion[0], zero), distortion[2]
        even_1, odd_1 = min(distortion[3], zero), distortion[1]
        choice = (1 if zero < distortion[0] else 0) << 8 | (1 if zero < distortion[3] else 0) << 9
        a0, a1, b0, b1 = a + even_0, e + odd_0, c + even_0, g + odd_0
        c0, c1, d0, d1 = a + odd_0, e + even_0, c + odd_0, g + even_0
        e0, e1, f0, f1 = d + odd_1, h + even_1, b + odd_1, f + even_1
        g0, g1, h0, h1 = d + even_1, h + odd_1, b + even_1, f + odd_1
        choice |= (a1 < a0) << 0 | (b1 < b0) << 1 | (c1 < c0) << 2 | (d1 < d0) << 3
        choice |= (e1 < e0) << 4 | (f1 < f0) << 5 | (g1 < g0) << 6 | (h1 < h0) << 7
        a, b, c, d = min(a0, a1), min(b0, b1), min(c0, c1), min(d0, d1)
        e, f, g, h = min(e0, e1), min(f0, f1), min(g0, g1), min(h0, h1)
        choices[i] = choice
    return int(np.argmin(np.array([a, b, c, d, e, f, g, h])))


@_kernel
def _trace(values: np.ndarray, scale: float, choices: np.ndarray, state: int, levels: np.ndarray) -> None:
    """Walk back from the last state and write the levels."""
    for i in range(len(values) - 1, -1, -1):
        second = choices[i] >> state & 1
        previous = _PREVIOUS[state, second]
        quantizer = previous & 1
        odd = 1 if _NEXT[previous, 1] == state else 0
        if odd == 0 and choices[i] >> (8 + quantizer) & 1:
            levels[i] = 0
        else:
            levels[i] = _nearest_level(values[i], scale, quantizer, odd)
        state = previous


@_kernel
def _nearest_level(value: float, scale: float, quantizer: int, odd: int) -> int:
    """Return the one of the four candidate levels that has this quantizer and this parity of the index."""
    level = max(1, int(scale * abs(np.float64(value))) - 1)
    wanted = 2 - quantizer if odd else 3 * quantizer
    level += (wanted - level) & 3
    return -level if value < 0 else level


@_kernel
def _search_cheap(
    values: np.ndarray, scale: float, weights: np.ndarray, rates: Rates, following: np.ndarray, decisions: np.ndarray
) -> int:
    """Fill ``decisions`` (n, 8): state before times 4, plus 0 even index, 1 zero, 2 odd index; return the end."""
    cost, new_cost = np.full(8, _NEVER), np.empty(8)
    neighbour, new_neighbour = np.zeros(8, np.int64), np.zeros(8, np.int64)
    cost[0] = 0.0
    distortion, magnitude = np.empty(4), np.empty(4, np.int64)
    for i in range(len(values)):
        sign = 1 if values[i] < 0 else 0
        scaled = scale * np.float64(values[i]) * (1 - 2 * sign)
        weight = weights[i]
        smallest = max(1, int(scaled) - 1)
        for level in range(smallest, smallest + 4):
            difference = scaled - level
            distortion[level & 3] = weight * (difference * difference)
            magnitude[level & 3] = min((level + 1) >> 1, MAGNITUDES - 1)
        zero = weight * (scaled * scaled)
        if values[i] == 0:
            distortion[:] = np.inf
        new_cost[:] = np.inf
        for state in range(8):
            even, odd = 3 * (state & 1), 2 - (state & 1)
            near = neighbour[state]
            set_bits = rates.zero[state, near, 1] + rates.sign[near, sign]
            to_even, to_odd = following[state, 0], following[state, 1]
            total = cost[state] + distortion[even] + (set_bits + rates.magnitude[sign, magnitude[even]])
            if total < new_cost[to_even]:
                new_cost[to_even], new_neighbour[to_even], decisions[i, to_even] = total, 2 - sign, state * 4
            total = cost[state] + zero + rates.zero[state, near, 0]
            if total < new_cost[to_even]:
                new_cost[to_even], new_neighbour[to_even], decisions[i, to_even] = total, 0, state * 4 + 1
            total = cost[state] + distortion[odd] + (set_bits + rates.magnitude[sign, magnitude[odd]])
            if total < new_cost[to_odd]:
                new_cost[to_odd], new_neighbour[to_odd], decisions[i, to_odd] = total, 2 - sign, state * 4 + 2
        cost, new_cost = new_cost, cost
        neighbour, new_neighbour = new_neighbour, neighbour
    return int(np.argmin(cost))


@_kernel
def _trace_cheap(values: np.ndarray, scale: float, decisions: np.ndarray, state: int, levels: np.ndarray) -> None:
    for i in range(len(values) - 1, -1, -1):
        decision = decisions[i, state]
        state, choice = decision >> 2, decision & 3
        levels[i] = 0 if choice == 1 else _nearest_level(values[i], scale, state & 1, choice >> 1)
