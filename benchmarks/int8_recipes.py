"""Two ways to train a vanilla NeRF for 8 bits, after the same number of steps, on a small scene made for it.

    python benchmarks/int8_recipes.py [steps] [seeds] [arrangement]

- ``old``: as NeRF-QAT (github.com/haujinnn/nerf-qat) does with ``get_default_qat_qconfig("x86")``: from random weights
  on; activations of 7 bits; moving ranges from the least to the largest value that never freeze, not even while test
  views are drawn; outputs of density and colour layers on 256 levels; encodings beyond the first layer stay float.
- ``ours``: one schedule, too, but rounding begins after two thirds of the steps, and ranges freeze half-way from there:
  `FreezeRanges` with ``begin``.

Beside them float32 after all steps, and calibration alone after them. Each recipe has the learning rate, of three, with
which seed 0 ends best on four views held back from training. Means over seeds from 0 on; writes
runs/benchmarks/int8_recipes.json.
"""

import logging
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from nerfcomp.process import prepare_process

prepare_process()  # before torch is loaded
import torch
from lightning import Trainer
from torch import Tensor, nn

from benchmarks.common import FOLDER, describe_machine
from nerfcomp.artifacts.artifact import SceneArtifact
from nerfcomp.artifacts.integers import calibrated, to_integers
from nerfcomp.callbacks import FreezeRanges
from nerfcomp.compression import FakeQuantization, WeightHook
from nerfcomp.compression.fake_quantization import FakeQuantizer
from nerfcomp.datamodules import RayDataModule
from nerfcomp.evaluation.report import format_table, mean_result, write_json
from nerfcomp.evaluation.views import evaluate_views
from nerfcomp.fields import NeRFField
from nerfcomp.modules import VanillaNeRFModule
from nerfcomp.readers import ProceduralReader, Split
from nerfcomp.readers.arrangements import Arrangement
from nerfcomp.rendering import HierarchicalSampler, OccupancySampler

logger = logging.getLogger("benchmark")
STEPS = 900
RATES = (1e-3, 2e-3, 4e-3)
RECIPES = ("float32", "ours", "old")
_SHARE = 0.01  # of a new range in the moving one, torch.ao's averaging_constant


class MovingRange(nn.Module):
    """Fake quantization per tensor to a moving range, in training and evaluation alike.

    Args:
        levels: 127 for ``reduce_range``, 255 without.
    """

    ends: Tensor

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.levels = levels
        self.register_buffer("ends", torch.full((2,), torch.nan))

    def forward(self, x: Tensor) -> Tensor:
        """Round ``x``, which keeps its shape."""
        seen = torch.stack([x.detach().min().clamp(max=0), x.detach().max().clamp(min=0)])
        self.ends.copy_(seen if bool(self.ends.isnan().any()) else torch.lerp(self.ends, seen, _SHARE))
        scale = ((self.ends[1] - self.ends[0]) / self.levels).clamp(min=1e-8)
        zero = torch.round(-self.ends[0] / scale).clamp(0, self.levels)
        return torch.fake_quantize_per_tensor_affine(x, scale, zero.int(), 0, self.levels)


class OldQuantizer(FakeQuantizer):
    """Weights from -128 to 127 in steps of the moving largest magnitude of their channel; inputs in 7 bits."""

    largest: Tensor

    def __init__(self, weight: Tensor, channel: int, parts: list[int], made_by: "OldQuantization") -> None:
        super().__init__(weight, channel, parts, made_by)
        self.grid = MovingRange(127)
        self.log_scale.requires_grad_(False)
        self.register_buffer("largest", weight.abs().amax(1).clamp(min=1e-8))

    def forward(self, weight: Tensor) -> Tensor:
        """Round ``weight``."""
        self.largest.lerp_(weight.detach().abs().amax(1).clamp(min=1e-8), _SHARE)
        zeros = torch.zeros(len(weight), dtype=torch.int32)
        return torch.fake_quantize_per_channel_affine(weight, self.largest / 127.5, zeros, 0, -128, 127)

    def rounded_inputs(self, x: Tensor) -> Tensor:
        """Round what the layer before handed on; what joins it beside that stays as it is."""
        if len(self.parts) == 1:
            out: Tensor = self.grid(x)
            return out
        which = self.parts.index(max(self.parts))
        parts = [self.grid(part) if place == which else part for place, part in enumerate(x.split(self.parts, -1))]
        return torch.cat(parts, -1)


class OldQuantization(FakeQuantization):
    """The hook of these; outputs of the heads are rounded, too."""

    def function(self, layer: nn.Module) -> OldQuantizer:
        """Quantizer of a layer."""
        assert isinstance(layer, nn.Linear)
        parts = list(getattr(layer, "parts", (layer.in_features,)))
        return OldQuantizer(layer.weight.detach(), 0, parts, self)

    def attach(self, module: nn.Module) -> list[str]:
        """Hook weights, inputs, and outputs of heads."""
        for head in [layer for name, layer in module.named_modules() if name.endswith(("alpha_linear", "rgb_linear"))]:
            head.outputs = MovingRange(127)
            head.register_forward_hook(lambda layer, _, out: layer.outputs(out))
        return super().attach(module)


def train(reader: ProceduralReader, steps: int, seed: int, recipe: str, rate: float) -> SceneArtifact:
    """Train a network of 4x64 by a recipe on views of 32x32 pixels."""
    torch.manual_seed(seed)
    hooks: dict[str, list[WeightHook]] = {"float32": [], "ours": [FakeQuantization()], "old": [OldQuantization()]}
    ranges = FreezeRanges(5 * steps // 6, 2 * steps // 3) if recipe == "ours" else FreezeRanges(steps)
    module = VanillaNeRFModule(
        NeRFField(4, 64, [2], 6, 2),
        HierarchicalSampler(32, 32, resolution=32),
        OccupancySampler(n_steps=128, resolution=32, warmup_steps=64),
        lambda parameters: torch.optim.Adam(parameters, lr=rate),
        lambda optimizer, total: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total),
        hooks=hooks[recipe],
    )
    module.hparams.clear()
    trainer = Trainer(
        max_steps=steps,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        limit_val_batches=0,
        callbacks=[ranges],
    )
    trainer.fit(module, datamodule=RayDataModule(reader, batch_size=1024))
    return to_integers(module.trained) if recipe == "ours" else module.trained


def quality(reader: ProceduralReader, trained: SceneArtifact, split: Split = "test") -> float:
    """PSNR on all views of a split."""
    return mean_result(evaluate_views(trained, reader.read(split))).psnr


def chosen_rates(reader: ProceduralReader, steps: int) -> dict[str, float]:
    """Learning rate of each recipe."""
    found = {}
    for recipe in RECIPES:
        held_back = {rate: quality(reader, train(reader, steps, 0, recipe, rate), "val") for rate in RATES}
        found[recipe] = max(held_back, key=held_back.__getitem__)
        logger.info("%s on views held back, by rate: %s", recipe, held_back)
    return found


def compared(reader: ProceduralReader, steps: int, seed: int, rates: dict[str, float]) -> dict[str, float]:
    """PSNR of all recipes with one seed."""
    trained = {recipe: train(reader, steps, seed, recipe, rate) for recipe, rate in rates.items()}
    trained["float32, calibrated"] = to_integers(calibrated(trained["float32"], [FakeQuantization()]))
    return {recipe: quality(reader, trained[recipe]) for recipe in ("float32", "float32, calibrated", "ours", "old")}


def main(steps: int = STEPS, seeds: int = 1, arrangement: Arrangement = "still_life") -> None:
    """Train all, and write the table."""
    reader = ProceduralReader(32, 16, 4, 6, supersampling=1, arrangement=arrangement)
    rates = chosen_rates(reader, steps)
    found = []
    for seed in range(seeds):
        found.append(compared(reader, steps, seed, rates))
        logger.info("seed %d: %s", seed, found[-1])
    rows = [[name, sum(one[name] for one in found) / seeds, *(one[name] for one in found)] for name in found[0]]
    content = {"machine": describe_machine(), "steps": steps, "scene": arrangement, "rates": rates, "psnr": found}
    write_json(FOLDER / "int8_recipes.json", content)
    logger.info(format_table(["recipe", "PSNR", *(f"seed {seed}" for seed in range(seeds))], rows))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main(*map(int, sys.argv[1:3]), *sys.argv[3:4])  # type: ignore[arg-type]
