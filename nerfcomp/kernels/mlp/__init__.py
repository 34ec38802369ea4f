"""Small fully connected networks: ReLU between layers, nothing after the last, no biases.

On a GPU one kernel takes a block of inputs through all layers, so that what layers hand on never leaves the chip. Its
products are of three TF32 terms each (``tf32x3``), which is float32 up to some 1e-6; sums are float32.
"""

from collections.abc import Sequence

from torch import Tensor

from nerfcomp.kernels.backends import Backend, Chosen, choose_backend
from nerfcomp.kernels.mlp.torch_kernel import mlp_torch

_HIDDEN_WIDTHS = (16, 32, 64, 128)
_MOST = 64  # inputs or outputs that a block holds beside its hidden layers
_HIDDEN_LAYERS = (1, 2)


def fusible(matrices: Sequence[Tensor]) -> bool:
    """Whether the fused kernel has this shape: one or two hidden layers of 16 to 128, up to 64 inputs and outputs.

    >>> import torch
    >>> fusible([torch.zeros(64, 32), torch.zeros(16, 64)]), fusible([torch.zeros(256, 32), torch.zeros(3, 256)])
    (True, False)
    """
    hidden = {len(matrix) for matrix in matrices[:-1]}
    ends = max(matrices[0].shape[1], len(matrices[-1]))
    return len(matrices) - 1 in _HIDDEN_LAYERS and len(hidden) == 1 and hidden <= {*_HIDDEN_WIDTHS} and ends <= _MOST


def mlp(x: Tensor, matrices: Sequence[Tensor], backend: Backend = "auto") -> Tensor:
    """Evaluate a network. Differentiable.

    Args:
        x: (M, inputs).
        matrices: Weights (out, in) from the first layer to the last.
        backend: "torch"; "triton" (float32 on a GPU, `fusible` shapes); or "auto", see `choose_backend`.

    Returns:
        (M, outputs).

    Raises:
        ValueError: A backend that cannot take these tensors.

    >>> import torch
    >>> mlp(torch.tensor([[1.0, -2.0]]), [torch.eye(2), torch.tensor([[3.0, 5.0]])]).tolist()
    [[3.0]]
    """
    twins: tuple[Chosen, ...] = ("triton",) if fusible(matrices) else ()
    if choose_backend("fused network", backend, (x, *matrices), twins=twins) == "torch":
        return mlp_torch(x, matrices)
    from nerfcomp.kernels.mlp.triton_kernel import mlp_triton

    return mlp_triton(x, matrices)
