"""Both regimes of training learn a small scene that the hierarchical renderer shows."""

from pathlib import Path

import pytest
import torch

from nerfcomp.evaluation.report import mean_result
from nerfcomp.evaluation.views import evaluate_views
from nerfcomp.fields import NeRFField
from nerfcomp.modules import VanillaNeRFModule
from nerfcomp.rendering import HierarchicalSampler, OccupancySampler
from tests.modules.tiny_fields import data, quiet_fit


def module_of(fast: bool) -> VanillaNeRFModule:
    torch.manual_seed(0)
    field = NeRFField(depth=3, width=32, skips=[1], position_frequencies=4, direction_frequencies=2)
    marching = OccupancySampler(resolution=16, n_steps=64, warmup_steps=32, update_every=8) if fast else None
    return VanillaNeRFModule(
        field,
        HierarchicalSampler(16, 16, resolution=16),
        marching,
        lambda parameters: torch.optim.Adam(parameters, lr=5e-3),
        max_samples=1024,
    )


def train(module: VanillaNeRFModule, folder: Path, steps: int) -> float:
    """PSNR on the test view after so many steps."""
    datamodule = data()
    quiet_fit(module, datamodule, folder, steps)
    return mean_result(evaluate_views(module.trained, datamodule.split("test"))).psnr


@pytest.mark.parametrize("fast", [True, False])
def test_pictures_come_close_to_the_truth(fast: bool, tmp_path: Path) -> None:
    before = train(module_of(fast), tmp_path, 1)
    after = train(module_of(fast), tmp_path, 200)
    assert after > before + 3.0


def test_each_network_learns_from_its_own_loss(tmp_path: Path) -> None:
    module = module_of(True)
    train(module, tmp_path, 20)
    assert module.training_sampler is not None
    batch = next(iter(module.trainer.datamodule.train_dataloader()))  # type: ignore[attr-defined]
    module.zero_grad()
    module._coarse_loss(batch, module.training_sampler).backward()
    coarse, fine = module.field.networks
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in coarse.parameters())
    assert all(p.grad is None or p.grad.abs().sum() == 0 for p in fine.parameters())
