"""Learning what to prune within one run of any LightningModule: losses, turn, zeros, histograms, resuming."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from nerfcomp.callbacks import LearnedPruning
from nerfcomp.callbacks.learned_pruning import pruning_losses
from nerfcomp.compression import (
    BinaryMask,
    PruningHook,
    Smallify,
    VariationalDropout,
    coded_weights,
    plain_parameters,
    pruning_functions,
)
from nerfcomp.errors import SettingsError
from nerfcomp.modules import RadianceFieldModule
from nerfcomp.optim import WarmupCosine
from tests.modules.test_hooked_stages import stage
from tests.modules.tiny_fields import data, quiet_fit

STEPS = 240


class Sparse(LightningModule):
    """A linear map of 16 numbers of which four matter; nothing of ours beyond the hook."""

    def __init__(self, hook: PruningHook | None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Linear(16, 3, bias=False)
        if hook is not None:
            hook.attach(self)

    def training_step(self, batch: list[Tensor]) -> Tensor:
        loss: Tensor = (self.net(batch[0]) - batch[1]).square().mean()
        return loss

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=0.03)
        return {"optimizer": optimizer, "lr_scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 1000)}


class Rates(Callback):
    """Notes learning rates, and whether each optimizer is the one of the step before."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.optimizers: list[Any] = []

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        self.rates.append(optimizer.param_groups[0]["lr"])
        self.optimizers += [optimizer] if not self.optimizers or self.optimizers[-1] is not optimizer else []


def fit(module: LightningModule, folder: Path, *more: Callback, log: bool = False, steps: int = STEPS) -> Trainer:
    generator = torch.Generator().manual_seed(0)
    x, truth = torch.randn(512, 16, generator=generator), torch.randn(3, 16, generator=generator)
    truth[:, 4:] = 0
    logger: Any = TensorBoardLogger(folder, "logs", version=0) if log else False
    trainer = Trainer(
        max_steps=steps,
        accelerator="cpu",
        default_root_dir=folder,
        logger=logger,
        callbacks=list(more),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=10,
    )
    trainer.fit(module, DataLoader(TensorDataset(x, x @ truth.t()), batch_size=64))
    return trainer


HOOKS: dict[str, PruningHook] = {
    "sigmoid": BinaryMask(drop_weight=5e-3, channel_axis=0),
    "sampled": BinaryMask(variant="sampled", drop_weight=3e-2, channel_axis=0),
    "smallify": Smallify(momentum=0.1, threshold=0.1, drop_weight=1e-2, channel_axis=0),
    "variational": VariationalDropout(threshold=0.8, log_noise=-0.5, points=64, weight_decay=0.01, channel_axis=0),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", list(HOOKS))
def test_inputs_that_do_not_matter_are_dropped(name: str, tmp_path: Path) -> None:
    module, rates = Sparse(HOOKS[name]), Rates()
    trainer = fit(module, tmp_path, LearnedPruning(), rates, log=True)
    zero = (coded_weights(module)["net.weight"] == 0).all(0)
    assert not bool(zero[:4].any()) and int(zero[4:].sum()) >= 8
    assert rates.rates[: 2 * STEPS // 3] == pytest.approx([0.03] * 160) and len(rates.optimizers) == 2
    assert rates.rates[2 * STEPS // 3 :] == pytest.approx([0.003] * 80)
    events = EventAccumulator(trainer.log_dir, {"histograms": 0}).Reload()
    assert events.Tags()["histograms"] == ["droprates_layer_0"]
    assert [each.step for each in events.Histograms("droprates_layer_0")] == [100, 160]
    assert int(events.Scalars("zeroes")[-1].value) == 3 * int(zero.sum())
    assert {"drop_loss", "Weight_loss"} <= set(events.Tags()["scalars"])


def test_losses_are_part_of_the_gradient(tmp_path: Path) -> None:
    """One step of gradient descent is that on the sum of all losses."""

    class Plain(Sparse):
        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    class Summed(Plain):
        def training_step(self, batch: list[Tensor]) -> Tensor:
            return super().training_step(batch) + torch.stack(list(pruning_losses(self).values())).sum()

    hook = Smallify(drop_weight=0.1, weight_decay=0.2)
    one, other = Plain(hook), Summed(hook)
    other.load_state_dict(one.state_dict())
    fit(one, tmp_path, LearnedPruning(share=0.9), steps=2)
    fit(other, tmp_path, steps=2)
    function = pruning_functions(one)["net.weight"]
    torch.testing.assert_close(list(function.parameters()), list(pruning_functions(other)["net.weight"].parameters()))


@pytest.mark.slow
@pytest.mark.parametrize("interrupted", [4, 8])
def test_resumed_runs_end_the_same(interrupted: int, tmp_path: Path) -> None:
    def module() -> RadianceFieldModule:
        found = stage()
        found.hooks = [Smallify(["grid.*"], channel_axis=1), BinaryMask(["*.weight", "!grid.*"], drop_weight=1e-3)]
        found.scheduler = lambda optimizer, total: WarmupCosine(optimizer, total, 0.1)
        return found

    straight, first, resumed = module(), module(), module()
    torch.manual_seed(1)
    quiet_fit(straight, data(), tmp_path, 9, callbacks=[LearnedPruning()])

    class Save(Callback):
        def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
            if trainer.global_step == interrupted:
                trainer.save_checkpoint(tmp_path / "first.ckpt")

    torch.manual_seed(1)
    quiet_fit(first, data(), tmp_path, 9, callbacks=[LearnedPruning(), Save()])
    quiet_fit(resumed, data(), tmp_path, 9, tmp_path / "first.ckpt", callbacks=[LearnedPruning()])
    for name, value in straight.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name
    field: Any = straight.field
    assert all(bool(function.settled) for function in pruning_functions(field).values())
    assert len(pruning_functions(field)) > 5 and all(w.isfinite().all() for w in plain_parameters(field).values())


def test_runs_without_hooks_or_end_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no hook that learns"):
        fit(Sparse(None), tmp_path, LearnedPruning())
    with pytest.raises(ValueError, match="share in"):
        LearnedPruning(share=1.0)
