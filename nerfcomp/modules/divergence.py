"""Noticing that a run has diverged, without waiting for the accelerator at every step."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from lightning import Trainer
from torch import Tensor, nn

from nerfcomp.errors import DivergedError

CHECK_STEPS = 50  # steps between two looks, each of which waits for the accelerator


class Finding(NamedTuple):
    """What was not finite.

    Attributes:
        step: Since when; the earliest one of several processes tells the cause.
        what: A part of a sentence.
    """

    step: int
    what: str


class DivergenceWatch:
    """Remembers on the device at which step what was first not a number.

    A density that is not a number leaves no other trace: the occupancy grid empties, no sample is left, and the loss of
    pictures of nothing is finite.
    """

    def __init__(self) -> None:
        self._first: dict[str, Tensor] = {}

    def note(self, what: str, bad: Tensor, step: int) -> None:
        """Take down the step if ``bad`` (scalar bool) is set and nothing was taken down for ``what`` before."""
        last = torch.iinfo(torch.int64).max
        seen = torch.where(bad.detach(), step, last)
        self._first[what] = torch.minimum(self._first.get(what, seen).to(seen.device), seen)

    def opacities(self, opacity_fn: Callable[..., Tensor], step: int) -> Callable[..., Tensor]:
        """The same function, whose results are looked at."""

        def looked_at(*where: Tensor) -> Tensor:
            opacity = opacity_fn(*where)
            self.note("densities", opacity.detach().isnan().any(), step)
            return opacity

        return looked_at

    def found(self) -> Finding | None:
        """Say what was first not finite and when; none while all is well. Waits for the accelerator."""
        steps = {what: int(step) for what, step in self._first.items()}
        what = min(steps, key=lambda name: steps[name], default=None)
        if what is None or steps[what] == torch.iinfo(torch.int64).max:
            return None
        return Finding(steps[what], f"the {what} stopped being finite at step {steps[what]:,}")


def broken_weights(module: nn.Module) -> list[str]:
    """Names of the parameters with values that are not finite, and of buffers with values that are not numbers.

    >>> layer = nn.Linear(1, 1)
    >>> _ = nn.init.constant_(layer.bias, float("inf"))
    >>> broken_weights(layer)
    ['bias']
    """
    checks = {name: ~value.detach().isfinite().all() for name, value in module.named_parameters()}
    checks |= {name: value.isnan().any() for name, value in module.named_buffers() if value.is_floating_point()}
    if not checks:
        return []
    flags = torch.stack([flag.to(next(iter(checks.values())).device) for flag in checks.values()]).tolist()
    return [name for name, flag in zip(checks, flags) if flag]


def diverged(found: str, trainer: Trainer) -> DivergedError:
    """The error that tells what was found, what is left of the run, and what to try."""
    paths = [getattr(callback, "last_model_path", "") for callback in trainer.checkpoint_callbacks]
    kept = [path for path in (*paths, trainer.ckpt_path) if path and Path(path).is_file()]
    left = f"The last good checkpoint is {kept[0]}." if kept else "No checkpoint was written before."
    return DivergedError(
        f"Training has diverged: {found} (seen at step {trainer.global_step:,}). {left} Try a lower learning rate "
        "(model.init_args.optimizer.init_args.lr), a warm-up in the schedule, or full precision (trainer.precision 32)."
    )
