"""Training with hooks that learn what to prune, then without: the losses, the turn between both, the figures."""

import logging
from typing import Any, cast

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn

from nerfcomp.compression import PruningFunction, coded_weights, plain_parameters, pruning_functions
from nerfcomp.errors import SettingsError

logger = logging.getLogger(__name__)


class LearnedPruning(Callback):
    """Prune what the hooks of a module (`BinaryMask`, `Smallify`, `VariationalDropout`) find dispensable.

    The first part of the run trains weights and hooks under the hooks' losses. Then hooks settle: weights take their
    factors over, with exact zeros, which stay. The rest fine-tunes with a new optimizer, at a lower rate and with a
    schedule of its own, and without those losses. Serves any LightningModule of one optimizer; resumed runs go on in
    the part where they were.

    Args:
        share: Share of the steps before hooks settle, in (0, 1).
        rate: Learning rates of fine-tuning, as a multiple of those of the first part.
        histogram_steps: Steps between two histograms ``droprates_layer_<i>`` in TensorBoard.

    Raises:
        ValueError: A number out of range.
    """

    def __init__(self, share: float = 2 / 3, rate: float = 0.1, histogram_steps: int = 100) -> None:
        if not (0 < share < 1 and rate > 0 and histogram_steps >= 1):
            raise ValueError(
                "LearnedPruning needs a share in (0, 1), a rate above 0 and histogram_steps >= 1, got "
                f"{share}, {rate} and {histogram_steps}."
            )
        self.share, self.rate, self.histogram_steps = share, rate, histogram_steps
        self.settled = False

    def state_dict(self) -> dict[str, Any]:
        """In which part the run is, for checkpoints."""
        return {"settled": self.settled}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Let the schedule end where the first part does."""
        if stage == "fit":
            self._take_part(pl_module, False)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Go on in the part where the run was."""
        self._take_part(pl_module, bool(checkpoint.get("callbacks", {}).get(self.state_key, {}).get("settled", False)))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse runs without an end or without hooks.

        Raises:
            SettingsError: It is one.
        """
        total = trainer.estimated_stepping_batches
        if total == float("inf"):
            raise SettingsError("Pruning settles after a share of the run: give --trainer.max_steps.")
        self._step = trainer.global_step
        self._turn = max(1, round(float(total) * self.share))
        if not pruning_functions(pl_module):
            raise SettingsError(
                "LearnedPruning found no hook that learns what to prune: list BinaryMask, Smallify or "
                "VariationalDropout under model.init_args.hooks."
            )

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the gradients of the hooks' losses, which are the same on every process."""
        if self.settled:
            return
        losses = pruning_losses(pl_module)
        total = torch.stack(list(losses.values())).sum() / trainer.accumulate_grad_batches
        trained = [parameter for parameter in pl_module.parameters() if parameter.requires_grad]
        for parameter, gradient in zip(trained, torch.autograd.grad(total, trained, allow_unused=True)):
            if gradient is not None:
                parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)
        pl_module.log_dict({name: loss.detach() for name, loss in losses.items()})

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Let hooks note the step, show drop rates, and settle when it is time."""
        if self.settled or trainer.global_step == self._step:
            return
        self._step = trainer.global_step
        functions = pruning_functions(pl_module)
        for function in functions.values():
            function.after_step()
        if trainer.global_step % self.histogram_steps == 0 or trainer.global_step == self._turn:
            self._show(trainer, functions)
        if trainer.global_step >= self._turn:
            self._settle(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say what is zero."""
        self._count(trainer, pl_module)

    def _take_part(self, module: LightningModule, settled: bool) -> None:
        self.settled = settled
        cast(Any, module).schedule_share = 1 - self.share if settled else self.share

    def _settle(self, trainer: Trainer, module: LightningModule) -> None:
        """Put the factors into the weights and go on with another optimizer."""
        settle(module)
        self._take_part(module, True)
        trainer.strategy.setup_optimizers(trainer)
        for optimizer in trainer.optimizers:
            for group in optimizer.param_groups:
                group["lr"] *= self.rate
                if "initial_lr" in group:
                    group["initial_lr"] *= self.rate
        for config in trainer.lr_scheduler_configs:
            if hasattr(config.scheduler, "base_lrs"):
                config.scheduler.base_lrs = [self.rate * rate for rate in config.scheduler.base_lrs]
        self._count(trainer, module)

    def _show(self, trainer: Trainer, functions: dict[str, PruningFunction]) -> None:
        for log in trainer.loggers if trainer.is_global_zero else []:
            if isinstance(log, TensorBoardLogger):
                for place, function in enumerate(functions.values()):
                    rates = function.drop_rates().cpu()
                    log.experiment.add_histogram(f"droprates_layer_{place}", rates, trainer.global_step)

    def _count(self, trainer: Trainer, module: LightningModule) -> None:
        """Log how many hooked weights are exactly zero as files hold them."""
        coded = {name: weight for name, weight in coded_weights(module).items() if name in pruning_functions(module)}
        zeros, total = zero_count(coded), sum(weight.numel() for weight in coded.values())
        for log in trainer.loggers if trainer.is_global_zero else []:
            log.log_metrics({"zeroes": float(zeros)}, trainer.global_step)
        logger.info("%d of %d hooked weights (%.1f %%) are zero.", zeros, total, 100 * zeros / total)


def pruning_losses(module: nn.Module) -> dict[str, Tensor]:
    """``drop_loss`` and ``Weight_loss`` of the hooks on weights that are trained, weighted."""
    stored = plain_parameters(module)
    found = {name: each for name, each in pruning_functions(module).items() if stored[name].requires_grad}
    drop = torch.stack([function.drop_loss() for function in found.values()]).sum()
    weight = torch.stack([function.weight_loss(stored[name]) for name, function in found.items()]).sum()
    return {"drop_loss": drop, "Weight_loss": weight}


def settle(module: nn.Module) -> None:
    """Settle all hooks of a module; a running average of a student takes the student's decisions."""
    stored, functions = plain_parameters(module), pruning_functions(module)
    for name, function in sorted(functions.items(), key=lambda item: not stored[item[0]].requires_grad):
        twin = functions.get(name.replace("field.", "student.", 1)) if not stored[name].requires_grad else None
        function.settle(stored[name].data, None if twin is None else twin.keep)


def zero_count(weights: dict[str, Tensor]) -> int:
    """Entries that are exactly zero."""
    return sum(int((weight == 0).sum()) for weight in weights.values())
