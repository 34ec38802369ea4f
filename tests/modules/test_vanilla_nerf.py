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

pytestmark = pytest.mark.slow


def module_of(fast: bool, density_noise: float = 0.0) -> VanillaNeRFModule:
    torch.manual_seed(0)
    field = NeRFField(
        depth=3, width=32, skips=[1], position_frequencies=4, direction_frequencies=2, density_noise=density_noise
    )
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
    module._coarse_loss(batch, module.training_sampler)[0].backward()
    coarse, fine = module.field.networks
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in coarse.parameters())
    assert all(p.grad is None or p.grad.abs().sum() == 0 for p in fine.parameters())


@pytest.mark.parametrize("fast", [True, False])
def test_a_resumed_run_ends_with_the_very_same_weights(fast: bool, tmp_path: Path) -> None:
    straight, first, resumed = (module_of(fast, density_noise=0.5) for _ in range(3))
    torch.manual_seed(1)
    quiet_fit(straight, data(), tmp_path, 7)
    quiet_fit(first, data(), tmp_path, 3).save_checkpoint(tmp_path / "first.ckpt")
    torch.manual_seed(2)
    quiet_fit(resumed, data(), tmp_path, 7, tmp_path / "first.ckpt")
    expected, found = straight.state_dict(), resumed.state_dict()
    assert all(torch.equal(value, found[name]) for name, value in expected.items())
    assert any(not torch.equal(value, first.state_dict()[name]) for name, value in expected.items())


def test_places_that_shall_be_empty_are_shared_among_processes(tmp_path: Path) -> None:
    module = module_of(True)
    quiet_fit(module, data(), tmp_path, 20)
    assert module.training_sampler is not None
    rays = next(iter(module.trainer.datamodule.train_dataloader())).rays  # type: ignore[attr-defined]
    first = module._empty_loss(rays, module.training_sampler)
    torch.manual_seed(5)
    assert torch.equal(module._empty_loss(rays, module.training_sampler), first) and first > 0
