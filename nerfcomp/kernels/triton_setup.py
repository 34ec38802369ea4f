"""What every Triton kernel shares: the import, the launch, and how large a program's block is.

A kernel is a function of the ``triton_kernel.py`` of its folder, decorated with `jit` and started by `launch`. On a GPU
blocks are of the size that the kernel asks for; Triton's interpreter, which runs one program after the other in Python,
takes blocks as large as the data. Kernels keep to what both can do: no bfloat16, no libdevice, no inline assembly, no
automatic choice among configurations.
"""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch

from nerfcomp.kernels.backends import interpreting

__all__ = ["block_size", "ceil_div", "jit", "launch", "power_of_two", "tl"]

try:
    import triton
    import triton.language as tl

    jit: Callable[[Callable[..., Any]], Any] = triton.jit
except ImportError:  # the modules with kernels can still be imported; `choose_backend` refuses to run them
    tl = SimpleNamespace(constexpr=object, tensor=object)

    def jit(function: Callable[..., Any]) -> Any:
        """Leave a kernel as it is."""
        return function


_LARGEST = 2**16
_LARGEST_TENSOR = 2**20  # elements of one tensor of a program, in Triton


def ceil_div(a: int, b: int) -> int:
    """Number of blocks of ``b`` that hold ``a``.

    >>> ceil_div(9, 4)
    3
    """
    return -(-a // b)


def power_of_two(number: int) -> int:
    """Smallest power of two that is not below a number.

    >>> power_of_two(5), power_of_two(0)
    (8, 1)
    """
    return int(1 << max(number - 1, 0).bit_length())


def block_size(number: int, on_gpu: int, width: int = 1) -> int:
    """Elements that one program takes: ``on_gpu``, or in the interpreter all of ``number`` unless they are too many.

    Args:
        number: Elements in all.
        on_gpu: Elements per program on a GPU.
        width: Numbers that a program holds per element, a power of two.
    """
    return min(max(power_of_two(number), 16), _LARGEST, _LARGEST_TENSOR // width) if interpreting() else on_gpu


def launch(kernel: Any, grid: tuple[int, ...], device: torch.device, *arguments: Any, **constants: Any) -> None:
    """Start a kernel on a device; an empty grid starts nothing.

    Args:
        kernel: What `jit` made of a function.
        grid: Number of programs along each axis.
        device: Device of the tensors.
        arguments: Tensors and numbers.
        constants: Arguments that are compiled in, and ``num_warps``.
    """
    if 0 in grid:
        return
    if device.type == "cuda":
        with torch.cuda.device(device):
            kernel[grid](*arguments, **constants)
    else:
        kernel[grid](*arguments, **constants)
