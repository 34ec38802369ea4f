"""Optimizers that YAML may name."""

import math
from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from nerfcomp.kernels.adam import AdamStep, adam_step
from nerfcomp.kernels.orthogonal import orthogonalize


class ExponentialDecay(LambdaLR):
    """Learning rate that falls by equal factors per step, after a linear warm-up.

    Args:
        optimizer: Its rates are scaled.
        total_steps: Steps of the run, over which the rate falls unless ``decay_steps`` says otherwise.
        factor: What is left of the rate after the decay, above 0.
        decay_steps: Steps after which ``factor`` is reached; the rate goes on falling behind. The paper of NeRF has
            500,000 or 250,000.
        warmup_steps: Steps during which the rate rises.

    Raises:
        ValueError: A number outside its range.

    >>> schedule = ExponentialDecay(torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=8.0), 3, factor=0.125)
    >>> [schedule.lr_lambdas[0](step) * 8.0 for step in range(4)]
    [8.0, 4.0, 2.0, 1.0]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        total_steps: int,
        factor: float = 0.1,
        decay_steps: int | None = None,
        warmup_steps: int = 0,
    ) -> None:
        steps = decay_steps or total_steps
        if not (steps >= 1 and factor > 0 and warmup_steps >= 0):
            raise ValueError(f"Cannot decay by {factor} over {steps} steps after {warmup_steps} steps of warm-up.")
        super().__init__(optimizer, lambda step: min(1.0, (step + 1) / (warmup_steps + 1)) * factor ** (step / steps))


class StepDecay(LambdaLR):
    """Learning rate that is multiplied with a factor every so many steps.

    Args:
        optimizer: Its rates are scaled.
        total_steps: Steps of the run; of no matter here.
        every: Steps between two changes.
        factor: In [0, 1]; 0 means that the rate stays as it is.

    Raises:
        ValueError: A number outside its range.

    >>> schedule = StepDecay(torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=8.0), 5, every=2, factor=0.5)
    >>> [schedule.lr_lambdas[0](step) * 8.0 for step in range(5)]
    [8.0, 8.0, 4.0, 4.0, 2.0]
    """

    def __init__(self, optimizer: Optimizer, total_steps: int, every: int = 20000, factor: float = 0.1) -> None:
        if every < 1 or not 0.0 <= factor <= 1.0:
            raise ValueError(f"StepDecay needs every >= 1 and a factor in [0, 1], got {every} and {factor}.")
        super().__init__(optimizer, lambda step: (factor or 1.0) ** (step // every))


class WarmupCosine(LambdaLR):
    """Learning rate that rises linearly, then falls along half a cosine.

    Args:
        optimizer: Its rates are scaled.
        total_steps: Steps of the run.
        final: What is left of the rate at the end, in [0, 1].
        warmup_steps: Steps during which the rate rises.

    Raises:
        ValueError: A number outside its range.

    >>> schedule = WarmupCosine(torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=8.0), 6, 0.5, warmup_steps=2)
    >>> [round(schedule.lr_lambdas[0](step) * 8.0, 3) for step in range(7)]
    [2.667, 5.333, 8.0, 7.414, 6.0, 4.586, 4.0]
    """

    def __init__(self, optimizer: Optimizer, total_steps: int, final: float = 0.0, warmup_steps: int = 0) -> None:
        if not (0 <= final <= 1 and warmup_steps >= 0):
            raise ValueError(f"Cannot warm up for {warmup_steps} steps and end at {final} of the rate, in [0, 1].")

        def scale(step: int) -> float:
            if step < warmup_steps:
                return (step + 1) / (warmup_steps + 1)
            progress = min(1.0, (step - warmup_steps) / max(total_steps - warmup_steps, 1))
            return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress))

        super().__init__(optimizer, scale)


class GridAdam(Optimizer):
    """Adam that leaves entries alone whose gradient is exactly 0, moments included.

    In a hash grid most entries are touched by no sample of a step. Plain Adam would go on moving them by their old
    momentum and forget their second moment; tiny-cuda-nn skips them, and so does this. Where every gradient differs
    from 0 the steps are those of `torch.optim.Adam`. Bias is corrected by the number of steps, as in
    `torch.optim.SparseAdam`.

    Args:
        params: Parameters or groups of them.
        lr: Learning rate.
        betas: Decay of the averages of gradient and squared gradient.
        eps: Added to the root of the second moment; tiny, because gradients of table entries are.
        weight_decay: L2 penalty on touched entries.

    Raises:
        ValueError: A number outside its range.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter] | Iterable[dict[str, Any]],
        lr: float = 1e-2,
        betas: tuple[float, float] = (0.9, 0.99),
        eps: float = 1e-15,
        weight_decay: float = 0.0,
    ) -> None:
        if lr < 0 or eps < 0 or weight_decay < 0 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(
                f"GridAdam cannot run with lr={lr}, betas={betas}, eps={eps}, weight_decay={weight_decay}. "
                "Allowed: betas in [0, 1), the others at least 0."
            )
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Take one step.

        Args:
            closure: Recomputes the loss and its gradients, and returns the loss.

        Returns:
            The loss, if there is a closure.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            self._step_group(group)
        return loss

    def _step_group(self, group: dict[str, Any]) -> None:
        """Take the parameters of one group one step on."""
        for param in group["params"]:
            if param.grad is not None:
                self._step_param(param, group)

    def _step_param(self, param: nn.Parameter, group: dict[str, Any]) -> None:
        """Take one parameter one step on."""
        state = self.state[param]
        if not state:
            state["step"] = 0
            state["exp_avg"] = torch.zeros_like(param)
            state["exp_avg_sq"] = torch.zeros_like(param)
        state["step"] += 1
        beta1, beta2 = group["betas"]
        numbers = AdamStep(float(group["lr"]), beta1, beta2, group["eps"], group["weight_decay"], int(state["step"]))
        assert param.grad is not None
        adam_step(param, param.grad, state["exp_avg"], state["exp_avg_sq"], numbers)


class MuonAdam(GridAdam):
    """Muon: matrices move along their orthogonalized momentum; everything else moves by `GridAdam`.

    A gradient of a hidden layer has few large singular values and many tiny ones; making them all equal lets a network
    learn along all directions at once. Fully connected fields and light fields need a third to a half of Adam's steps.
    Source: Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024); the size of a step is that
    of Liu et al., "Muon is scalable for LLM training" (2025), section 2.2: its root mean square is a fifth of ``lr``.
    `torch.optim.Muon` orthogonalizes in bfloat16, which many CPUs lack, and takes matrices only.

    Args:
        params: Parameters. Those whose first axis, and the others together, are ``smallest`` or more are matrices;
            kernels of convolutions are, biases, tables of features and last layers are not.
        lr: Learning rate of matrices.
        adam_lr: Learning rate of the others.
        momentum: Decay of the average of gradients, for matrices; Nesterov's.
        betas: See `GridAdam`, for the others.
        eps: Likewise.
        weight_decay: Share of a matrix that a step takes away, times ``lr``; the others do not decay.
        smallest: Least side of a matrix.

    Raises:
        ValueError: A number outside its range.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float = 5e-3,
        adam_lr: float = 1e-3,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.99),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        smallest: int = 16,
    ) -> None:
        if not (0 <= momentum < 1 and lr >= 0 and weight_decay >= 0 and smallest >= 1):
            raise ValueError(
                f"MuonAdam cannot run with lr={lr}, momentum={momentum}, weight_decay={weight_decay} and smallest="
                f"{smallest}. Allowed: momentum in [0, 1), lr and weight_decay at least 0, smallest at least 1."
            )
        matrices: list[nn.Parameter] = []
        others: list[nn.Parameter] = []
        for param in params:
            is_matrix = param.ndim >= 2 and min(len(param), param[0].numel()) >= smallest
            (matrices if is_matrix else others).append(param)
        groups: list[dict[str, Any]] = [{"params": others, "momentum": None}]
        groups.append({"params": matrices, "momentum": momentum, "lr": lr, "weight_decay": weight_decay})
        super().__init__([group for group in groups if group["params"]], adam_lr, betas, eps)

    def _step_group(self, group: dict[str, Any]) -> None:
        """Take the parameters of one group one step on; matrices of one shape together."""
        if group.get("momentum") is None:
            super()._step_group(group)
            return
        alike: dict[tuple[int, ...], list[nn.Parameter]] = {}
        for param in group["params"]:
            if param.grad is not None:
                alike.setdefault(tuple(param.flatten(1).shape), []).append(param)
        for shape, params in alike.items():
            moves = orthogonalize(torch.stack([self._momentum(param, group["momentum"]) for param in params]))
            size = 0.2 * math.sqrt(max(shape)) * group["lr"]
            for param, move in zip(params, moves):
                param.mul_(1 - group["lr"] * group["weight_decay"]).add_(move.view_as(param), alpha=-size)

    def _momentum(self, param: nn.Parameter, momentum: float) -> torch.Tensor:
        """Average of the gradients of a matrix, a step ahead as Nesterov's is, as (m, n)."""
        assert param.grad is not None
        state = self.state[param]
        if not state:
            state["exp_avg"] = torch.zeros_like(param)
        state["exp_avg"].lerp_(param.grad, 1 - momentum)
        return torch.lerp(param.grad, state["exp_avg"], momentum).flatten(1)
