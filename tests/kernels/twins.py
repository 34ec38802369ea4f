"""Backends that tests of kernels are parametrised with, and running one wherever it runs.

Triton's kernels are tested natively where there is a GPU, elsewhere by `test_triton`, which starts its interpreter.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from nerfcomp.kernels.backends import Backend, interpreting, triton_installed


def _reason() -> str:
    """Why Triton's kernels cannot be tested in this process; nothing if they can."""
    if not triton_installed():
        return "Triton is not installed (pip install 'nerfcomp[triton]')"
    if not (interpreting() or torch.cuda.is_available()):
        return "no GPU: tests/kernels/test_triton.py runs this in Triton's interpreter"
    return ""


TRITON = pytest.param("triton", marks=pytest.mark.skipif(bool(_reason()), reason=_reason()))
TWINS = ["numba", TRITON]
BACKENDS = ["numba", "torch", TRITON]


def place(backend: Backend) -> torch.device:
    """Where a backend is tested."""
    return torch.device("cuda" if backend == "triton" and not interpreting() else "cpu")


def moved(value: Any, device: torch.device) -> Any:
    """Tensors on a device, also those in lists and tuples."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(moved(part, device) for part in value))
    return type(value)(moved(part, device) for part in value) if isinstance(value, (list, tuple)) else value


def run_on(backend: Backend, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Call a kernel with CPU tensors on the device of a backend; its results are on the CPU again, differentiable."""
    device = place(backend)
    options = {name: moved(value, device) for name, value in options.items()}
    return moved(function(*moved(arguments, device), **options, backend=backend), torch.device("cpu"))
