"""What the LightningModules share: a field, a warm start, one optimizer, one step, one evaluation."""

import signal
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any, cast

import torch
from lightning import LightningModule
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from nerfcomp.artifacts.checkpoint import described_hooks
from nerfcomp.compression import WeightHook, ordered_parameters, take_hooks
from nerfcomp.errors import SettingsError
from nerfcomp.modules.divergence import CHECK_STEPS, DivergenceWatch, Finding, broken_weights, diverged
from nerfcomp.modules.processes import SparseExchange, agreed_buffers, sparse_parameters
from nerfcomp.process import in_group

OptimizerFactory = Callable[[Iterable[nn.Parameter]], Optimizer]
SchedulerFactory = Callable[[Optimizer, int], LRScheduler]


class FieldModule(LightningModule):
    """Base of every training stage.

    A run whose losses, densities or weights stop being finite ends with a `DivergedError` in all of its processes, and
    neither a checkpoint nor a bitstream is written any more.

    Attributes:
        weights_step: Step of the run that the loaded weights are from.
        resumed: The run goes on from its own checkpoint, which holds all that ``init_from`` once gave.
        qps: QP of every tensor, when a callback has left weights that are values of the decoder.
        rounded: They are multiples of their steps, see `Artifact.rounded`.
        watch: What is noted of a step while training; read every few steps.
        schedule_share: Share of the run's steps that the schedule takes; callbacks that begin anew with another
            optimizer say so.

    Args:
        optimizer: Makes the optimizer from the parameters.
        scheduler: Makes a schedule that steps once per optimizer step from the optimizer and the number of steps of the
            whole run (``torch.optim.lr_scheduler.CosineAnnealingLR`` fits as it is); none keeps the rate constant.
        init_from: Checkpoint or ``.nfc`` file of an earlier stage whose weights start this one. To go on with the very
            same run use ``--ckpt_path``.
        hooks: What changes how the field computes with its weights. They are attached in this order when training
            begins; a resumed run takes those of its checkpoint.
    """

    def __init__(
        self,
        optimizer: OptimizerFactory,
        scheduler: SchedulerFactory | None = None,
        init_from: str | None = None,
        hooks: list[WeightHook] | None = None,
    ) -> None:
        super().__init__()
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.init_from = init_from
        self.hooks = hooks or []
        self.resumed = False
        self.weights_step = 0
        self.qps: dict[str, int] | None = None
        self.rounded = False
        self.schedule_share = 1.0
        self.watch = DivergenceWatch()
        self._hooked: list[nn.Module] = []
        self._exchange: SparseExchange | None = None

    def attach_hooks(self, *networks: nn.Module) -> None:
        """Attach this stage's hooks to networks, once to each; a checkpoint may replace them afterwards."""
        for network in networks:
            if not any(network is other for other in self._hooked):
                for hook in self.hooks:
                    hook.attach(network)
                self._hooked.append(network)

    def take_hooks(self, checkpoint: dict[str, Any], *networks: nn.Module) -> None:
        """Hook networks as those of a checkpoint are, before their weights are loaded."""
        for network in networks:
            take_hooks(network, described_hooks(checkpoint))
        self.configure_model()

    def configure_model(self) -> None:
        """Tell DDP what it need not send: gradients that are mostly zero, see `SparseExchange`, and agreed buffers."""
        strategy = self.trainer.strategy
        if not isinstance(strategy, DDPStrategy) or self.trainer.world_size == 1:
            return
        left_out = [name for name, _ in agreed_buffers(self)]
        if strategy.root_device.type == "cpu":  # accelerators send zeros faster than they look for them
            left_out += [name for name, _ in sparse_parameters(self)]
        self._ddp_params_and_buffers_to_ignore = left_out

    def on_fit_start(self) -> None:
        """Begin with the same weights on every process, those that DDP leaves out included."""
        left_out = getattr(self, "_ddp_params_and_buffers_to_ignore", [])
        tensors = {**dict(self.named_parameters()), **dict(self.named_buffers())}
        for name in left_out:
            torch.distributed.broadcast(tensors[name].detach(), 0)
        apart = [parameter for name, parameter in sparse_parameters(self) if name in left_out]
        self._exchange = SparseExchange(apart) if apart else None

    def on_after_backward(self) -> None:
        """Average the gradients that DDP leaves out, when it averages the others."""
        wrapped = self.trainer.strategy.model
        synchronized = isinstance(wrapped, DistributedDataParallel) and wrapped.require_backward_grad_sync
        if self._exchange is not None and synchronized:
            self._exchange.average()

    def share_ranges(self) -> None:
        """Let all copies of the field have the ranges of activations that it was just given, if there are several."""

    def stage(self, name: str) -> AbstractContextManager[Any]:
        """A part of a step, as the trainer's profiler calls it; see `nerfcomp.callbacks.StageTimes`."""
        trainer: Any = self.trainer
        part: AbstractContextManager[Any] = trainer.profiler.profile(f"stage {name}")
        return part

    def step(self, batch: Any) -> dict[str, Tensor]:
        """Named losses of one batch, ``loss`` (their weighted sum) among them."""
        raise TypeError(f"{type(self).__name__} has no step.")

    def make_optimizer(self) -> Optimizer:
        """One optimizer over everything trainable."""
        return self.optimizer(p for p in ordered_parameters(self) if p.requires_grad)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """One optimizer over everything trainable, with the schedule stepped per optimizer step."""
        optimizer = self.make_optimizer()
        if not all(group["lr"] > 0 for group in optimizer.param_groups):
            raise SettingsError("The learning rate is 0: nothing would be trained; give a positive lr.")
        if self.scheduler is None:
            return optimizer
        total = self.trainer.estimated_stepping_batches
        if total == float("inf"):
            raise SettingsError(
                "The learning-rate schedule needs an end, but the run has none: give --trainer.max_steps or "
                "--trainer.max_epochs, or set model.init_args.scheduler to null."
            )
        scheduler = self.scheduler(optimizer, max(1, round(total * self.schedule_share)))
        return cast(
            OptimizerLRScheduler,
            {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}},
        )

    def on_before_backward(self, loss: Tensor) -> None:
        """Note whether the loss is finite."""
        self.watch.note("loss", ~loss.detach().isfinite().all(), self.global_step)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Look now and then whether everything is finite."""
        if self.global_step % CHECK_STEPS == 0:
            self.check_finite()

    def on_train_end(self) -> None:
        """Look a last time."""
        self.check_finite()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Remember that weights are there, and of which step."""
        self.resumed, self.weights_step = True, int(checkpoint.get("global_step", 0))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Rather end the run than overwrite a good checkpoint."""
        self.check_finite()

    def check_finite(self) -> None:
        """End a run that has diverged, on all processes together: every one of them must call this at the same time.

        Raises:
            DivergedError: A loss, a density or a weight was not finite, here or in another process.
        """
        found = self.watch.found()
        broken = broken_weights(self) if found is None else []
        if broken:
            more = f" and {len(broken) - 1} more" if len(broken) > 1 else ""
            found = Finding(self.global_step, f"{broken[0]}{more} of its weights are not finite")
        everywhere = gather_rows([] if found is None else [found])
        if everywhere:
            raise diverged(min(everywhere).what, self.trainer)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Let random draws of a step depend on its number and the rank alone, so that a resumed run repeats them."""
        if self.trainer.optimizers:
            self.log("lr", float(self.trainer.optimizers[0].param_groups[0]["lr"]), rank_zero_only=True)
        batches = self.trainer.fit_loop.total_batch_idx
        torch.manual_seed(batches * self.trainer.world_size + self.trainer.global_rank)

    def on_test_batch_end(self, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Stop here when told to."""
        self._stop_if_told()

    def on_predict_batch_end(self, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Stop here when told to; callbacks have kept the batch by now."""
        self._stop_if_told()

    def _stop_if_told(self) -> None:
        """End the process after SIGTERM, which Lightning takes note of but heeds in training only."""
        if self.trainer.received_sigterm:
            raise SystemExit(128 + signal.SIGTERM)


def gather_rows(rows: list[Any]) -> list[Any]:
    """Concatenate the rows of all ranks, in rank order, on every rank; one process gets its own rows back."""
    if not in_group():
        return rows
    parts: list[list[Any]] = [[] for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather_object(parts, rows)
    return [row for part in parts for row in part]
