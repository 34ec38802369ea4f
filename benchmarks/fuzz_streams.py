"""Damaged NNC bitstreams, decoded by this package and natively."""

import contextlib
import os
import random
from pathlib import Path

import numpy as np

from benchmarks.mutations import damaged
from nerfcomp.codec import encode_nnc
from nerfcomp.codec.decoder import decode_stream
from nerfcomp.codec.nnc_bits import StreamError
from nerfcomp.codec.nnc_decoder import decode_nnc, promised
from nerfcomp.codec.nnc_syntax import read_units

MOST_LEVELS = 2**20  # the header of a file would promise less
_BEGAN = "native_began"


def streams() -> list[bytes]:
    """Intact ones: dependent and plain, of blocks, with rows skipped, of integers."""
    rng = np.random.default_rng(0)
    weight = rng.laplace(0, 0.1, (20, 12)).astype(np.float32)
    rows = np.where(np.arange(60)[:, None] % 4 == 0, rng.normal(size=(60, 4)), 0).astype(np.float32)
    layer = {"a.weight": weight, "a.weight_scaling": np.ones(20, np.float32), "a.bias": weight[:, 0]}
    found = [encode_nnc(layer, {"a.weight": -24, "a.weight_scaling": -40, "a.bias": -40})]
    found += [encode_nnc({"w": weight, "rows": rows, "v": weight[0]}, -24, dependent) for dependent in (False, True)]
    return [*found, encode_nnc({"n": rng.integers(-900, 900, (9, 5)), "m": np.zeros((30, 9), np.int32)})]


def native_began(folder: Path) -> bool:
    """Whether the native decoder had begun when a worker died; forgets it."""
    mark = folder / _BEGAN
    began = mark.exists()
    mark.unlink(missing_ok=True)
    return began


def stream_case(intact: list[bytes], rng: random.Random, folder: Path) -> str:
    """Damage a stream, decode it both ways and compare."""
    data = damaged(rng.choice(intact), rng)
    try:
        units = read_units(data)
        if sum(np.prod(tensor.shape, dtype=object) for tensor in promised(units)) > MOST_LEVELS:
            return "refused as too large"
        ours = decode_nnc(data)
    except StreamError:
        ours = None
    theirs = natively(data, folder)
    if ours is None:
        return "refused by both" if theirs is None else "refused, the native one decodes"
    if theirs is None:
        return "decoded, the native one refuses"
    same = [(k, v.shape, v.tobytes()) for k, v in ours.items()] == [
        (k, v.shape, v.tobytes()) for k, v in theirs.items()
    ]
    return "decoded alike" if same else "DIFFERENT"


def natively(data: bytes, folder: Path) -> dict[str, np.ndarray] | None:
    """What nncodec decodes, None if it refuses; it may take the process down."""
    mark = folder / _BEGAN
    mark.touch()
    with open(os.devnull, "w", encoding="utf-8") as silence, contextlib.redirect_stdout(silence):
        try:
            return decode_stream(data)
        except (Exception, SystemExit):
            return None
        finally:
            mark.unlink()
