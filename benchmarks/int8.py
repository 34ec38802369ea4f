"""Networks in 8 bits beside float32: one layer of 256x256, and one network of a vanilla NeRF (8x256), per call.

    python benchmarks/int8.py [points] [repeats]

Weights are random, with 8 bits and with fewer, for which AVX2 has a faster way, see docs/int8.md. Writes
runs/benchmarks/int8.json.
"""

import logging
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from nerfcomp.process import prepare_process

prepare_process()  # before torch is loaded
import torch
from torch import nn

from benchmarks.common import measure, report
from nerfcomp.compression import FakeQuantization, calibrating, quantizers
from nerfcomp.fields import VanillaNeRF, integer_layers, put_integer_layers
from nerfcomp.kernels.int8_linear import Grid, int8_linear, pack

POINTS = 65536
_ROWS = 4096
_REPEATS = 7
_BITS = (8, 7, 6, 4)


def in_integers(network: VanillaNeRF, x: torch.Tensor, d: torch.Tensor, bits: int = 8) -> VanillaNeRF:
    """A network of the same sizes that multiplies integers of some bits, with ranges as of the points."""
    twin = VanillaNeRF().eval()
    FakeQuantization().attach(twin)
    with torch.no_grad(), calibrating(twin):
        twin(x, d)
    found = {name.removesuffix(".weight"): quantizer for name, quantizer in quantizers(twin).items()}
    put_integer_layers(network, {name: [Grid(*grid.grid()) for grid in q.grids] for name, q in found.items()})
    for layer in integer_layers(network).values():
        layer.weight.copy_(random_weights(layer.weight.shape[0], layer.weight.shape[1], bits))
    return network


def random_weights(outputs: int, inputs: int, bits: int) -> torch.Tensor:
    """Normally distributed, the largest of a channel at the end of the range: as trained ones are."""
    weight = torch.randn(outputs, inputs)
    return torch.round(weight / weight.abs().amax(1, keepdim=True) * (2 ** (bits - 1) - 1)).to(torch.int8)


def main(points: int = POINTS, repeats: int = _REPEATS) -> None:
    """Measure, and write the table."""
    torch.manual_seed(0)
    x, d = torch.rand(points, 3), nn.functional.normalize(torch.randn(points, 3), dim=1)
    plain = VanillaNeRF().eval()
    rows, width = torch.randn(_ROWS, 256), nn.Linear(256, 256)
    levels, bias = torch.randint(0, 256, (_ROWS, 256), dtype=torch.uint8), torch.zeros(256)
    tried: dict[str, Callable[[], Any]] = {
        "layer, float32": lambda: torch.relu_(width(rows)),
        "network, float32": lambda: plain(x, d),
    }
    for bits in _BITS:
        packed = pack(random_weights(256, 256, bits), torch.rand(256) * 1e-2, Grid(0.02, 0))
        network = in_integers(VanillaNeRF().eval(), x[:_ROWS], d[:_ROWS], bits)
        tried[f"layer, {bits} bits ({packed.backend})"] = partial(
            int8_linear, levels, packed, bias, True, Grid(0.05, 0)
        )
        tried[f"network, {bits} bits ({packed.backend})"] = partial(network, x, d)
    with torch.no_grad():
        timings = measure(tried, repeats)
    report("int8", {"points": points, "rows": _ROWS}, list(timings.values()))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main(*map(int, sys.argv[1:3]))
