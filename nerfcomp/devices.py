"""Sending tensors to accelerators without making the program wait for them."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def sent(tensor: "Tensor", device: "torch.device") -> "Tensor":
    """Copy a CPU tensor to a device; the program goes on while a GPU still works on what came before.

    >>> import torch
    >>> sent(torch.tensor([1.0]), torch.device("cpu")).tolist()
    [1.0]
    """
    here = tensor.device.type == "cpu" and device.type == "cuda"
    return pinned(tensor).to(device, non_blocking=True) if here else tensor.to(device)


def pinned(tensor: "Tensor") -> "Tensor":
    """Copy in memory that a GPU can read by itself; only such copies go on in the background."""
    return tensor.pin_memory()
