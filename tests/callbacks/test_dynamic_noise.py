"""Gradients of the joint likelihood, and a noise that is found where it is."""

from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from lightning import LightningModule, Trainer
from torch import Tensor, nn

from nerfcomp.callbacks import DynamicNoise


class Points(NamedTuple):
    x: Tensor
    values: Tensor
    weights: Tensor


class Line(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Linear(3, 1)

    def training_step(self, batch: Points) -> dict[str, Tensor]:
        squares = (self.net(batch.x) - batch.values).square()
        return {"loss": (squares * batch.weights).mean(), "squares": squares.detach()}

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=0.02)


def batch(generator: torch.Generator) -> Points:
    """Values of a plane whose noise is 0.5 where x is positive, 0.05 elsewhere."""
    x = torch.rand(256, 3, generator=generator) * 2 - 1
    noise = torch.where(x[:, :1] > 0, 0.5, 0.05) * torch.randn(256, 1, generator=generator)
    return Points(x, x.sum(1, keepdim=True) + noise, torch.ones(256, 1))


def test_the_fields_gradient_is_that_of_the_joint_likelihood() -> None:
    torch.manual_seed(1)
    module, points = Line(), batch(torch.Generator().manual_seed(0))
    noise = DynamicNoise(log_noise=-2.0)
    nn.init.normal_(noise.network[-1].weight)  # type: ignore[arg-type]
    s = noise.network(points.x).detach().exp()
    error = (module.net(points.x) - points.values).square()
    joint = (error / (2 * s**2) + s.log()).mean() * 2 * torch.tensor(-4.0).exp()
    expected = torch.autograd.grad(joint, module.net.weight)[0]
    noise.on_train_batch_start(Trainer(logger=False, accelerator="cpu"), module, points, 0)
    found = torch.autograd.grad(module.training_step(points)["loss"], module.net.weight)[0]
    torch.testing.assert_close(found, expected)


@pytest.mark.slow
def test_noise_is_found_where_it_is(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    noise, batches = DynamicNoise(log_noise=-1.0, lr=1e-2), [batch(generator) for _ in range(300)]
    trainer = Trainer(
        max_epochs=1,
        accelerator="cpu",
        default_root_dir=tmp_path,
        logger=False,
        callbacks=[noise],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Line(), torch.utils.data.DataLoader(batches, batch_size=None))  # type: ignore[arg-type]
    found = noise.network(torch.tensor([[0.6, 0.0, 0.0], [-0.6, 0.0, 0.0]])).exp().flatten().tolist()
    assert 0.4 < found[0] < 0.6 and 0.03 < found[1] < 0.08
