"""Lossless coding of the levels of a wavelet pyramid, and the choice of levels that are worth their bits.

Notation: *level* is the integer that stands for a coefficient, in steps. Levels lie where
:mod:`nerfcomp.kernels.lifting` puts coefficients.
"""

import numpy as np
from numpy.typing import NDArray

from nerfcomp.codec.bit_models import WORD_BYTES, finish_coding, new_model, start_decoding
from nerfcomp.codec.pyramid_model import REFINED, ROWS, SLOTS, code_pyramid
from nerfcomp.kernels.lifting import boxes
from nerfcomp.limits import MOST_VOXELS

MAX_SIDE = 2**24
MAX_LEVEL = 2**24
_NOTHING = np.zeros((0, 0, 0), np.float32)


def encode_pyramid(levels: NDArray[np.int32]) -> bytes:
    """Code levels.

    Args:
        levels: (X, Y, Z) integers of at most `MAX_LEVEL` in magnitude.

    Returns:
        The code, at least 4 bytes; the same for the same levels everywhere.

    Raises:
        ValueError: Not three dimensions, too large, or too large levels.

    >>> levels = np.zeros((64, 64, 64), np.int32)
    >>> levels[:4, :4, :4] = 3
    >>> len(encode_pyramid(levels)), bool((decode_pyramid(encode_pyramid(levels), levels.shape) == levels).all())
    (19, True)
    """
    _check_shape(levels.shape)
    if levels.dtype.kind not in "iu" or int(levels.min()) < -MAX_LEVEL or int(levels.max()) > MAX_LEVEL:
        raise ValueError(f"Levels of a pyramid are integers of at most {MAX_LEVEL} in magnitude.")
    return _code(np.ascontiguousarray(levels, np.int32), _NOTHING, 0.0)


def choose_levels(steps: NDArray[np.float32], bit_cost: float) -> NDArray[np.int32]:
    """Choose levels for coefficients: the nearest ones, or nearer ones to 0 that save more than they spoil.

    Args:
        steps: (X, Y, Z) coefficients in steps, at most `MAX_LEVEL` in magnitude.
        bit_cost: Squared steps that a bit must save.

    Returns:
        (X, Y, Z) int32.

    Raises:
        ValueError: As `encode_pyramid`.
    """
    _check_shape(steps.shape)
    largest = float(np.abs(steps).max())
    if not largest <= MAX_LEVEL:
        raise ValueError(
            f"A coefficient of {largest:.3g} steps cannot be coded; at most {MAX_LEVEL}. Take larger steps."
        )
    levels = np.zeros(steps.shape, np.int32)
    _code(levels, np.ascontiguousarray(steps, np.float32), bit_cost)
    return levels


def decode_pyramid(code: bytes, shape: tuple[int, ...]) -> NDArray[np.int32]:
    """Decode what `encode_pyramid` made.

    Args:
        code: The code, exactly: neither cut nor followed by anything.
        shape: (X, Y, Z).

    Raises:
        ValueError: ``code`` is too short or too long for such a pyramid, or the shape is not allowed.
    """
    _check_shape(shape)
    if len(code) < WORD_BYTES:
        raise ValueError("the code is too short for its pyramid")
    model, source = new_model(SLOTS, ROWS, REFINED), np.frombuffer(code, np.uint8).copy()
    start_decoding(model, source)
    levels = np.zeros(shape, np.int32)
    if not code_pyramid(model, levels, _NOTHING, 0.0, boxes(shape), source, True):
        raise ValueError("the code is too short for its pyramid")
    if model.coder[3] != len(code):
        raise ValueError("the code is longer than its pyramid needs")
    return levels


def _code(levels: NDArray[np.int32], steps: NDArray[np.float32], bit_cost: float) -> bytes:
    model = new_model(SLOTS, ROWS, REFINED)
    code = np.zeros(levels.size * 8 + 64, np.uint8)
    if not code_pyramid(model, levels, steps, bit_cost, boxes(levels.shape), code, False):
        raise ValueError("The levels take more than 64 bits a voxel; take larger steps.")
    return finish_coding(model, code)


def _check_shape(shape: tuple[int, ...]) -> None:
    if len(shape) != 3 or min(shape) < 1 or max(shape) > MAX_SIDE or int(np.prod(shape, dtype=object)) > MOST_VOXELS:
        raise ValueError(
            f"A pyramid of shape {tuple(shape)} cannot be coded; use (X, Y, Z) of up to {MOST_VOXELS} values."
        )
