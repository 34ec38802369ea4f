"""Two ways to train a vanilla NeRF for 8 bits, after the same number of steps, on a small scene made for it.

    python benchmarks/int8_recipes.py [steps]

- ``old``: as NeRF-QAT (github.com/haujinnn/nerf-qat) does with ``get_default_qat_qconfig("x86")``: from random weights
  on; activations of 7 bits; moving ranges from the least to the largest value that never freeze, not even while test
  views are drawn; outputs of density and colour layers on 256 levels; encodings beyond the first layer stay float.
- ``ours``: in float32 for two thirds of the steps, then `FakeQuantization` with frozen ranges, as `configs/int8` does.

Beside them float32 after all steps, and calibration alone after them. Writes runs/benchmarks/int8_recipes.json.
"""

import logging
import sys
import tempfile
from pathlib import Path
from typing import Any

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
from nerfcomp.readers import ProceduralReader
from nerfcomp.rendering import HierarchicalSampler, OccupancySampler

logger = logging.getLogger("benchmark")
STEPS = 900
READER = ProceduralReader(image_size=32, n_train=16, n_val=1, n_test=6, supersampling=1)
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


def train(steps: int, folder: Path, hooks: list[WeightHook], start: Path | None = None, lr: float = 2e-3) -> Any:
    """Train a network of 4x64 on views of 32x32 pixels; returns the module, and leaves ``last.ckpt`` without hooks."""
    torch.manual_seed(0)
    data = RayDataModule(READER, batch_size=1024)
    field = NeRFField(4, 64, [2], 6, 2)
    module = VanillaNeRFModule(
        field,
        HierarchicalSampler(32, 32, resolution=32),
        OccupancySampler(n_steps=128, resolution=32, warmup_steps=64),
        lambda parameters: torch.optim.Adam(parameters, lr=lr),
        lambda optimizer, total: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total),
        init_from=None if start is None else str(start),
        hooks=hooks,
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
        callbacks=[FreezeRanges(max(steps // 2, 1))],
    )
    trainer.fit(module, datamodule=data)
    if not hooks:
        trainer.save_checkpoint(folder / "last.ckpt")
    return module


def quality(trained: SceneArtifact) -> float:
    """PSNR on all test views."""
    return mean_result(evaluate_views(trained, READER.read("test"))).psnr


def main(steps: int = STEPS) -> None:
    """Train all, and write the table."""
    rows: list[list[Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plain = train(steps, folder, []).trained
        rows.append(["float32", quality(plain)])
        rows.append(["float32, calibrated", quality(to_integers(calibrated(plain, [FakeQuantization()])))])
        before = 2 * steps // 3
        train(before, folder, [])
        hooks: list[WeightHook] = [FakeQuantization()]
        ours = train(steps - before, folder, hooks, folder / "last.ckpt", lr=3e-4).trained
        rows.append(["ours", quality(to_integers(ours))])
        rows.append(["old", quality(train(steps, folder, [OldQuantization()]).trained)])
    content = {"machine": describe_machine(), "steps": steps, "psnr": dict(rows)}
    write_json(FOLDER / "int8_recipes.json", content)
    logger.info(format_table(["recipe", "PSNR"], rows))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main(*map(int, sys.argv[1:2]))
