"""Networks in 8 bits beside float32: one layer of 256x256, and one network of a vanilla NeRF (8x256), per call.

    python benchmarks/int8.py [points]

Weights are random, which does not matter to the time. The bound of AVX2 is two times float32, see docs/int8.md. Writes
runs/benchmarks/int8.json.
"""

import logging
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from nerfcomp.process import prepare_process

prepare_process()  # before torch is loaded
import torch
from torch import nn

from benchmarks.common import measure, report
from nerfcomp.compression import FakeQuantization, calibrating, quantizers
from nerfcomp.fields import VanillaNeRF, integer_layers, put_integer_layers
from nerfcomp.kernels.int8_linear import Grid, int8_linear, pack, proven_backend

POINTS = 65536
_ROWS = 4096
_REPEATS = 7


def in_integers(network: VanillaNeRF, x: torch.Tensor, d: torch.Tensor) -> VanillaNeRF:
    """A network of the same sizes that multiplies integers, with ranges as of the points."""
    twin = VanillaNeRF().eval()
    FakeQuantization().attach(twin)
    with torch.no_grad(), calibrating(twin):
        twin(x, d)
    found = {name.removesuffix(".weight"): quantizer for name, quantizer in quantizers(twin).items()}
    put_integer_layers(network, {name: [Grid(*grid.grid()) for grid in q.grids] for name, q in found.items()})
    for layer in integer_layers(network).values():
        layer.weight.random_(-127, 128)
    return network


def main(points: int = POINTS) -> None:
    """Measure, and write the table."""
    torch.manual_seed(0)
    x, d = torch.rand(points, 3), nn.functional.normalize(torch.randn(points, 3), dim=1)
    plain, integers = VanillaNeRF().eval(), in_integers(VanillaNeRF().eval(), x[:_ROWS], d[:_ROWS])
    rows, width = torch.randn(_ROWS, 256), nn.Linear(256, 256)
    packed = pack(torch.randint(-127, 128, (256, 256)).to(torch.int8), torch.rand(256) * 1e-2, Grid(0.02, 0))
    levels, bias = torch.randint(0, 256, (_ROWS, 256), dtype=torch.uint8), torch.zeros(256)
    with torch.no_grad():
        timings = measure(
            {
                "layer, float32": lambda: torch.relu_(width(rows)),
                f"layer, {proven_backend()}": lambda: int8_linear(levels, packed, bias, True, Grid(0.05, 0)),
                "network, float32": lambda: plain(x, d),
                f"network, {proven_backend()}": lambda: integers(x, d),
            },
            _REPEATS,
        )
    report("int8", {"points": points, "rows": _ROWS}, list(timings.values()))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main(*map(int, sys.argv[1:2]))
