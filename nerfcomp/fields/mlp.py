"""Small fully connected networks without biases, as hash-grid fields use them."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from nerfcomp.fields.integer import all_integer, chain
from nerfcomp.fields.joined import JoinedLinear
from nerfcomp.kernels.backends import Backend, choose_backend
from nerfcomp.kernels.mlp import fusible, mlp


class MLP(nn.Module):
    """``widths[0] -> ... -> widths[-1]``, ReLU between layers, nothing after the last.

    Args:
        widths: Input width, hidden widths, output width; two or more.
        parts: Widths of what the input is joined from; one tensor when absent.
        backend: Implementation of `nerfcomp.kernels.mlp.mlp`: where it is "triton", all layers run in one kernel.

    Raises:
        ValueError: Fewer than two widths or one below 1.
    """

    def __init__(self, widths: Sequence[int], parts: Sequence[int] | None = None, backend: Backend = "auto") -> None:
        super().__init__()
        self.backend: Backend = backend
        if len(widths) < 2 or min(widths) < 1:
            raise ValueError(f"An MLP needs at least an input and an output width, all >= 1, got {list(widths)}.")
        first = JoinedLinear(parts or widths[:1], widths[1], bias=False)
        others = [nn.Linear(a, b, bias=False) for a, b in zip(widths[1:-1], widths[2:])]
        self.layers = nn.ModuleList([first, *others])
        for layer in self.layers:
            nn.init.xavier_uniform_(layer.weight)  # type: ignore[arg-type]

    @property
    def matrices(self) -> list[Tensor]:
        """Weights (out, in) of every layer."""
        return [cast(Tensor, layer.weight) for layer in self.layers]

    def forward(self, x: Tensor) -> Tensor:
        """Map (M, widths[0]) to (M, widths[-1])."""
        if all_integer(*self.layers):
            return chain(x, list(self.layers))
        if self._fused(x):
            return mlp(x, self.matrices, "triton")
        out: Tensor = self.layers[-1](self._hidden(x))
        return out

    def first_output(self, x: Tensor) -> Tensor:
        """Map (M, widths[0]) to the first output alone, (M,)."""
        last = self.layers[-1]
        if not isinstance(last, nn.Linear) or last._forward_pre_hooks:
            every: Tensor = self(x)
            return every[:, 0]
        if self._fused(x):
            *hidden, weight = self.matrices
            return mlp(x, [*hidden, weight[:1]], "triton")[:, 0]
        return self._hidden(x) @ last.weight[0]

    def _fused(self, x: Tensor) -> bool:
        """Whether one kernel runs all layers: where there is one, and nothing looks at what layers hand on."""
        plain = all(isinstance(layer, nn.Linear) and not watched(layer) for layer in self.layers)
        halved = x.device.type in ("cpu", "cuda") and torch.is_autocast_enabled(x.device.type)
        if not plain or halved or not fusible(self.matrices):
            return False
        tensors = (x, *self.matrices)
        return choose_backend("fused network", self.backend, tensors, twins=("triton",)) == "triton"

    def _hidden(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = torch.relu_(layer(x))
        return x


def watched(layer: nn.Module) -> bool:
    """Whether anything hooks into a layer's calls."""
    return bool(layer._forward_pre_hooks or layer._forward_hooks or layer._backward_hooks)
