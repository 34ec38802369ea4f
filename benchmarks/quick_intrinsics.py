"""What machine operations written by hand gain over what numba's compiler makes of plain loops.

python benchmarks/quick_intrinsics.py [--points 65536] [--levels 16] [--log2-table-size 18] [--touched 0.1]

The kernels are compiled again with plain functions in place of `nerfcomp.kernels.numba_intrinsics`: without
prefetching, with loops over the features of a row, without both; Adam with a loop over entries. Milliseconds of
processor time.
"""

import argparse
import importlib.util
import logging
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from nerfcomp.process import prepare_process

prepare_process()  # before torch is loaded
import numba
import numpy as np
import torch

from benchmarks.common import measure, report
from nerfcomp.kernels import numba_intrinsics
from nerfcomp.kernels.adam import numba_kernel as adam
from nerfcomp.kernels.hash_grid import grid_geometry
from nerfcomp.kernels.hash_grid import numba_kernel as hash_grid

_RATES = (1e-4, 0.9, 0.99, 1.0, 1e-15, 0.0)


class Row(NamedTuple):
    """One kernel without one kind of operation; ``times`` is what the operation gains in processor time."""

    kernel: str
    without: str
    cpu_ms: float
    plain_ms: float
    times: float


@numba.njit
def no_prefetch(table: Any, row: Any) -> None:
    """Leave memory alone."""


@numba.njit(fastmath=True)
def add_to_row(table: Any, row: Any, weight: Any, numbers: Any) -> None:
    """Plain twin of `numba_intrinsics.add_to_row`."""
    for f in range(len(numbers)):
        table[row, f] += weight * numbers[f]


@numba.njit(fastmath={"contract", "nsz", "arcp", "reassoc", "afn"}, error_model="numpy")
def plain_adam(param: Any, grad: Any, mean: Any, square: Any, rates: Any) -> None:
    """Plain twin of the Adam kernel."""
    step_size, beta1, beta2, root_factor, eps, weight_decay = rates
    one = np.float32(1.0)
    for i in range(len(param)):
        if grad[i] != 0.0:
            gradient = grad[i] + weight_decay * param[i]
            mean[i] += (gradient - mean[i]) * (one - beta1)
            square[i] = square[i] * beta2 + gradient * gradient * (one - beta2)
            param[i] -= step_size * mean[i] / (np.sqrt(square[i]) * root_factor + eps)


VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "prefetching": {"prefetch": no_prefetch},
    "rows as vectors": {"add_to_row": add_to_row},
    "both": {"prefetch": no_prefetch, "add_to_row": add_to_row},
}


def compiled_without(name: str, replaced: Mapping[str, Any], cache: str) -> ModuleType:
    """The hash grid's kernels with other functions in place of some, compiled into a cache of their own."""
    known = {key: getattr(numba_intrinsics, key) for key in replaced}
    found = importlib.util.spec_from_file_location(f"plain_{name.split()[0]}", hash_grid.__file__)
    assert found is not None and found.loader is not None, "of a module that is loaded"
    options: Any = numba.config
    module, before = importlib.util.module_from_spec(found), options.CACHE_DIR
    try:
        options.CACHE_DIR = str(Path(cache) / name.split()[0])
        for key, function in replaced.items():
            setattr(numba_intrinsics, key, function)
        found.loader.exec_module(module)
    finally:
        options.CACHE_DIR = before
        for key, function in known.items():
            setattr(numba_intrinsics, key, function)
    return module


def grid_cases(points: int, levels: int, log2_table_size: int, cache: str) -> dict[str, Callable[[], object]]:
    """Forward and backward pass of every variant."""
    geometry = grid_geometry(levels, log2_table_size)
    torch.manual_seed(0)
    x, grad = torch.rand(points, 3), torch.randn(points, 2 * levels)
    tables = [torch.randn(entries, 2, requires_grad=True) for entries in geometry.entries]
    modules = {"": hash_grid} | {name: compiled_without(name, gone, cache) for name, gone in VARIANTS.items()}
    cases: dict[str, Callable[[], object]] = {}
    for name, module in modules.items():
        encode = module.hash_encode_numba
        features = encode(x, tables, geometry.scales, geometry.resolutions)
        cases[f"forward|{name}"] = partial(encode, x, tables, geometry.scales, geometry.resolutions)
        cases[f"backward|{name}"] = partial(torch.autograd.grad, features, tables, grad, retain_graph=True)
    return cases


def adam_cases(numbers: int, touched: float) -> dict[str, Callable[[], object]]:
    """One step on ``numbers`` table entries; neighbours along x are touched together."""
    torch.manual_seed(0)
    fours = (torch.rand(numbers // 4, 1) < touched).expand(-1, 4).reshape(-1)
    tensors = [torch.randn(numbers), torch.randn(numbers) * fours, torch.zeros(numbers), torch.zeros(numbers)]
    param, grad, mean, square = tensors
    plain: Callable[..., object] = plain_adam
    arrays, rates = [tensor.numpy() for tensor in tensors], tuple(np.float32(rate) for rate in _RATES)
    return {
        "Adam|": lambda: adam.adam_step_numba(param, grad, mean, square, _RATES),
        "Adam|vectors": lambda: plain(*arrays, rates),
    }


def main(points: int, levels: int, log2_table_size: int, touched: float, repeats: int) -> None:
    """Measure and report."""
    with tempfile.TemporaryDirectory() as cache:
        cases = grid_cases(points, levels, log2_table_size, cache)
        cases |= adam_cases(2 * levels * 2**log2_table_size, touched)
        times = {name: timing.cpu for name, timing in measure(cases, repeats).items()}
    rows = []
    for name, plain in times.items():
        kernel, without = name.split("|")
        if without:
            own = times[f"{kernel}|"]
            rows.append(Row(kernel, without, own, plain, plain / own))
    settings = {"points": points, "levels": levels, "log2_table_size": log2_table_size, "touched": touched}
    report("intrinsics", settings, rows)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=65536)
    parser.add_argument("--levels", type=int, default=16)
    parser.add_argument("--log2-table-size", type=int, default=18)
    parser.add_argument("--touched", type=float, default=0.1, help="share of table rows that have a gradient")
    parser.add_argument("--repeats", type=int, default=10)
    main(**vars(parser.parse_args()))
