"""Which implementation of a kernel runs: chosen here, by device, number type and what is installed.

Every kernel has a reference in torch, which takes anything. numba takes CPU tensors; Triton takes tensors on a GPU, or
on the CPU where ``TRITON_INTERPRET=1`` was in the environment when Python started, which is slow and for tests.
"""

import importlib.util
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Literal, get_args

import torch
from torch import Tensor

from nerfcomp.errors import MissingExtraError

logger = logging.getLogger(__name__)

Backend = Literal["auto", "torch", "numba", "triton"]
Chosen = Literal["torch", "numba", "triton"]
_TWINS: tuple[Chosen, ...] = ("numba", "triton")
_preferred: list[Chosen] = []


def choose_backend(
    kernel: str,
    backend: Backend,
    tensors: Sequence[Tensor],
    twins: Sequence[Chosen] = _TWINS,
    dtypes: Sequence[torch.dtype] = (torch.float32,),
) -> Chosen:
    """Choose the implementation of one call, and log the first time that one is chosen.

    Args:
        kernel: What a person calls the operation.
        backend: "auto" takes the fastest twin that fits the tensors; any other name is honoured or refused.
        tensors: What the kernel computes with.
        twins: Which twins there are beside the reference.
        dtypes: Number types that they take.

    Returns:
        Name of the implementation.

    Raises:
        ValueError: An unknown name, or a twin that cannot take these tensors.
        MissingExtraError: Triton is asked for and not installed.

    >>> choose_backend("hash grid", "auto", [torch.zeros(1)]), choose_backend("hash grid", "torch", [torch.zeros(1)])
    ('numba', 'torch')
    """
    if backend not in get_args(Backend):
        raise ValueError(f"Backend of the {kernel} is {backend!r}, allowed are {', '.join(get_args(Backend))}.")
    wanted = _preferred[-1] if backend == "auto" and _preferred else backend
    fitting = [twin for twin in twins if _fits(twin, tensors, dtypes)]
    if backend in _TWINS and backend not in fitting:
        raise _refusal(kernel, backend, tensors, dtypes, offered=backend in twins)
    chosen: Chosen = "torch"
    if wanted in fitting:
        chosen = "numba" if wanted == "numba" else "triton"
    elif wanted == "auto" and fitting:
        chosen = fitting[0]
    _log_once(kernel, chosen, str(tensors[0].device) if tensors else "cpu")
    return chosen


@contextmanager
def prefer_backend(backend: Chosen) -> Iterator[None]:
    """Let "auto" mean this backend wherever it fits, else the reference.

    >>> with prefer_backend("torch"):
    ...     choose_backend("hash grid", "auto", [torch.zeros(1)])
    'torch'
    """
    _preferred.append(backend)
    try:
        yield
    finally:
        _preferred.pop()


def interpreting() -> bool:
    """Whether Triton's kernels run in its interpreter, on the CPU; settled when Python starts."""
    return os.environ.get("TRITON_INTERPRET", "0").lower() in ("1", "true", "yes", "on", "y")


@cache
def triton_installed() -> bool:
    """Whether there is a Triton to import."""
    return importlib.util.find_spec("triton") is not None


def _fits(twin: Chosen, tensors: Sequence[Tensor], dtypes: Sequence[torch.dtype]) -> bool:
    """Whether a twin can take these tensors here and now."""
    if any(tensor.dtype not in dtypes for tensor in tensors):
        return False
    kinds = {tensor.device.type for tensor in tensors}
    if twin == "numba":
        return kinds <= {"cpu"}
    return triton_installed() and (kinds == {"cuda"} or (kinds <= {"cpu"} and interpreting()))


def _refusal(
    kernel: str, backend: str, tensors: Sequence[Tensor], dtypes: Sequence[torch.dtype], offered: bool
) -> Exception:
    """Say why a backend that was asked for by name cannot be had."""
    if not offered:
        return ValueError(f"There is no {backend} kernel of the {kernel}. Use backend='auto' or 'torch'.")
    if backend == "triton" and not triton_installed():
        return MissingExtraError(
            "The backend 'triton' needs Triton, which torch brings along in its CUDA builds. Install it with "
            "`pip install 'nerfcomp[triton]'`, or choose the backend 'auto'."
        )
    found = sorted({f"{str(tensor.dtype).removeprefix('torch.')} on {tensor.device}" for tensor in tensors})
    types = " or ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)
    place = "the CPU" if backend == "numba" else "a GPU (on the CPU only with TRITON_INTERPRET=1 in the environment)"
    return ValueError(
        f"The {backend} {kernel} takes {types} tensors on {place}, found {', '.join(found)}. "
        "Use backend='auto' or 'torch' for those."
    )


@cache
def _log_once(kernel: str, chosen: Chosen, device: str) -> None:
    """Say which implementation runs; every combination once per process."""
    logger.info("The %s runs on %s by its %s kernel.", kernel, device, chosen)
