"""How small coding can make the integers of a field: fewer bits, and 8 bits rounded towards what is cheap to code.

    python benchmarks/int8_entropy.py CKPT

Entropies are those of each layer's integers, averaged over weights: no coder that takes them one by one gets below.
Errors are relative to those of plain rounding to 8 bits. Cheap rounding chooses for each weight the level of least
``error^2 + price * bits`` in steps of its channel, with the bits that the layer's own counts say, in turns (entropy-
constrained scalar quantization, Chou, Lookabaugh and Gray 1989).
"""

import argparse
import logging
import sys
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from nerfcomp.process import prepare_process

prepare_process()  # before torch is loaded
import torch
from torch import Tensor, nn

from benchmarks.common import report
from nerfcomp.artifacts.reading import read_artifact
from nerfcomp.compression import FakeQuantization
from nerfcomp.compression.fake_quantization import FakeQuantizer

PRICES = (0.5, 2.0, 5.0, 10.0)
_HIGHEST = 127
_REACH = 8  # levels away from the nearest that are tried
_TURNS = 12
_NEVER = 60.0  # bits of a level that no weight has


class Row(NamedTuple):
    """One way to make integers."""

    name: str
    entropy: float  # bits per weight
    error: float  # dB above that of 8 bits
    bound: float  # how many times smaller than float32 the weights can become


def bits_of_levels(levels: Tensor) -> Tensor:
    """What each level from -127 on costs by its frequency."""
    counts = torch.bincount(levels.flatten().long() + _HIGHEST, minlength=2 * _HIGHEST + 1).double()
    return torch.where(counts > 0, -(counts / levels.numel()).log2(), torch.tensor(_NEVER, dtype=torch.float64))


def cheap_levels(scaled: Tensor, price: float) -> Tensor:
    """Levels of weights in steps of 8 bits."""
    nearest = scaled.round().clamp(-_HIGHEST, _HIGHEST)
    levels = nearest
    for _ in range(_TURNS):
        bits, best = bits_of_levels(levels), torch.full_like(scaled, torch.inf)
        for away in range(-_REACH, _REACH + 1):
            tried = (nearest + away).clamp(-_HIGHEST, _HIGHEST)
            cost = (scaled - tried).square() + price * bits[tried.long() + _HIGHEST]
            levels, best = torch.where(cost < best, tried, levels), torch.minimum(cost, best)
    return levels


def totals(weights: list[Tensor], bits: int, price: float = 0.0) -> tuple[float, float]:
    """Bits of all weights, and their squared error in steps of 8 bits."""
    size, error = 0.0, 0.0
    for weight in weights:
        step, fine = (FakeQuantizer(weight, 0, [0], FakeQuantization(bits=b)).log_scale.exp() for b in (bits, 8))
        scaled, highest = (weight / step).double(), 2 ** (bits - 1) - 1
        levels = cheap_levels(scaled, price) if price else scaled.round().clamp(-highest, highest)
        size += float(bits_of_levels(levels)[levels.long() + _HIGHEST].sum())
        error += float(((scaled - levels) * (step / fine)).square().sum())
    return size, error


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("input", type=Path, help="a field with linear layers")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    field = read_artifact(options.input).without_hooks().field
    weights = [layer.weight.detach() for layer in field.modules() if isinstance(layer, nn.Linear)]
    count = sum(weight.numel() for weight in weights)
    cases = {f"{bits} bits": (bits, 0.0) for bits in (8, 7, 6, 5, 4)}
    cases |= {f"8 bits, price {price}": (8, price) for price in PRICES}
    found = {name: totals(weights, *case) for name, case in cases.items()}
    least = found["8 bits"][1]
    decibels = {name: 10 * float(torch.tensor(error / least).log10()) for name, (_, error) in found.items()}
    rows = [Row(name, size / count, decibels[name], 32 * count / size) for name, (size, _) in found.items()]
    report("int8_entropy", {"weights": count}, rows)


if __name__ == "__main__":
    with torch.no_grad():
        main()
