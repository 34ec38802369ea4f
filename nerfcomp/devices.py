"""Where models compute, and sending tensors there without making the program wait."""

from typing import TYPE_CHECKING

from nerfcomp.errors import SettingsError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_used = ["cpu"]


def use_device(name: str) -> None:
    """Let models that are read from now on compute on a device.

    Args:
        name: ``cpu``, ``cuda``, or ``cuda:1`` for the second GPU.

    Raises:
        SettingsError: There is no such device.
    """
    import torch  # slow to import, and only GPUs need it here

    kind, _, number = name.partition(":")
    there = {"cpu": 1, "cuda": torch.cuda.device_count() if kind == "cuda" else 0}.get(kind, 0)
    if (number and not number.isdecimal()) or int(number or 0) >= there:
        raise SettingsError(
            f"There is no device {name!r}: cpu, cuda and cuda:N are allowed, and torch finds "
            f"{torch.cuda.device_count()} GPUs (torch {torch.__version__}; a GPU needs a CUDA build of it)."
        )
    _used[0] = name


def used_device() -> "torch.device":
    """Where models that are read compute."""
    import torch

    return torch.device(_used[0])


def sent(tensor: "Tensor", device: "torch.device") -> "Tensor":
    """Copy a CPU tensor to a device; the program goes on while a GPU still works on what came before.

    >>> import torch
    >>> sent(torch.tensor([1.0]), torch.device("cpu")).tolist()
    [1.0]
    """
    here = tensor.device.type == "cpu" and device.type == "cuda"
    return pinned(tensor).to(device, non_blocking=True) if here else tensor.to(device)


def finish(device: "torch.device") -> None:
    """Wait until a GPU has done what it was given, so that a clock may be read; a CPU always has."""
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)


def pinned(tensor: "Tensor") -> "Tensor":
    """Copy in memory that a GPU can read by itself; only such copies go on in the background."""
    return tensor.pin_memory()
