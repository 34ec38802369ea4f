"""Settings that every numba kernel shares.

Kernels split their work over `worker_count` workers: ``for worker in prange(workers)`` around a loop over every
``workers``-th block. Blocks are interleaved because neighbouring rays cost alike, and each block writes to its own
place, so results do not depend on the number of workers.
"""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

Array = np.ndarray[Any, Any]
Scalar = Any  # a float or int of the width that numba infers
Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

kernel: Decorator = numba.njit(cache=True, nogil=True, error_model="numpy")
# products and sums may fuse and change order; NaN and infinity keep their meaning
fast_kernel: Decorator = numba.njit(
    cache=True, nogil=True, error_model="numpy", fastmath={"contract", "nsz", "arcp", "reassoc", "afn"}
)
inlined_kernel: Decorator = numba.njit(error_model="numpy", inline="always")
parallel_kernel: Decorator = numba.njit(cache=True, nogil=True, error_model="numpy", parallel=True)


def worker_count() -> int:
    """Threads a kernel may use: torch's setting, which launchers lower to share a machine, at most numba's own pool."""
    return max(1, min(torch.get_num_threads(), numba.get_num_threads()))


def as_array(tensor: Tensor) -> Array:
    """View a CPU tensor as a C-contiguous array, copying only when it is not contiguous."""
    return tensor.detach().contiguous().numpy()
