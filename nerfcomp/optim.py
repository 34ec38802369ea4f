"""Optimizers that YAML may name."""

from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch import nn
from torch.optim import Optimizer

from nerfcomp.kernels.adam import AdamStep, adam_step


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
            for param in group["params"]:
                if param.grad is not None:
                    self._step_param(param, group)
        return loss

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
