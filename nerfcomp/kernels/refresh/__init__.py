"""Refreshing some cells of a running maximum: what was known fades, what is found counts if it is larger."""

import torch
from torch import Tensor

from nerfcomp.kernels.backends import Backend, choose_backend


def refresh_torch(density: Tensor, cells: Tensor, found: Tensor, decay: Tensor) -> None:
    """Refresh cells in place: the reference, for any device.

    Arguments as in `refresh`.
    """
    old = density[cells]
    density[cells] = torch.where(old.isinf(), 0.0, old * decay)
    density.scatter_reduce_(0, cells, found, "amax")


def refresh(density: Tensor, cells: Tensor, found: Tensor, decay: Tensor, backend: Backend = "auto") -> None:
    """Set ``density[cells]`` to the larger of what fades and what is found, in place.

    Args:
        density: (C,) float32, contiguous; infinity is what nothing is known of and counts as 0.
        cells: (K,) int64; a cell may occur several times: it fades once, and the largest finding counts.
        found: (K,) float32, at least 0.
        decay: Scalar factor.
        backend: "torch", "triton" (on a GPU) or "auto", see `choose_backend`.

    >>> density = torch.tensor([4.0, torch.inf, 1.0])
    >>> refresh(density, torch.tensor([0, 0, 1]), torch.tensor([1.0, 3.0, 2.0]), torch.tensor(0.5))
    >>> density.tolist()
    [3.0, 2.0, 1.0]
    """
    if choose_backend("occupancy update", backend, (density, found), twins=("triton",)) == "torch":
        refresh_torch(density, cells, found, decay)
        return
    from nerfcomp.kernels.refresh.triton_kernel import refresh_triton

    refresh_triton(density, cells, found, decay)
