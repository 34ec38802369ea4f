"""Coding an occupancy grid without loss."""

import lzma

import numpy as np


def encode_bits(grid: np.ndarray) -> bytes:
    """Code a bool grid (placeholder)."""
    return lzma.compress(np.packbits(grid).tobytes(), format=lzma.FORMAT_XZ)


def decode_bits(data: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """Decode what :func:`encode_bits` made (placeholder)."""
    n = int(np.prod(shape))
    return np.unpackbits(np.frombuffer(lzma.decompress(data), np.uint8))[:n].astype(bool).reshape(shape)
