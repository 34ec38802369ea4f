"""Checkpoints of nerf-pytorch: read into plain tensors, and written back; those of nerf_pl are read too.

nerf-pytorch's ``NNNNNN.tar`` is a dictionary with the training step, the parameters of the coarse and perhaps of a fine
network, and the state of one Adam over both. How large the networks are is nowhere said; it follows from the shapes.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nerfcomp.errors import CheckpointError
from nerfcomp.files import atomic_write
from nerfcomp.readers.nerf_pytorch_layout import NetworkShape, network_shape, parameter_order, renamed_nerf_pl
from nerfcomp.readers.torch_file import load_torch_file, save_torch_file

_MOST_BYTES = 2**30  # a checkpoint of the usual networks has 14 MB, two thirds of it the optimizer's
_MOST_STEPS = 2**53
_CENTERS = "pixel_centers"
_RATE = 5e-4  # nerf-pytorch's own; it sets the rate anew at every step


class NerfCheckpoint(NamedTuple):
    """What a checkpoint of a vanilla NeRF says.

    Attributes:
        step: Training steps taken.
        coarse: Parameters of the coarse network under nerf-pytorch's names, float32.
        fine: Those of the fine network, or none.
        coarse_shape: Size of the coarse network.
        fine_shape: Size of the fine network, or none.
        pixel_centers: Its rays go through the centres of pixels; those of nerf-pytorch and nerf_pl go through corners.
            A key that nerf-pytorch does not look at says so.
    """

    step: int
    coarse: dict[str, Tensor]
    fine: dict[str, Tensor] | None
    coarse_shape: NetworkShape
    fine_shape: NetworkShape | None
    pixel_centers: bool = False


def read_nerf_pytorch(path: str | Path) -> NerfCheckpoint:
    """Read a ``.tar`` of nerf-pytorch or a ``.ckpt`` of nerf_pl.

    Args:
        path: The file. Nothing in it is trusted.

    Returns:
        Its tensors, on the CPU; the optimizer's state is left aside.

    Raises:
        CheckpointError: The file is missing, damaged, holds anything but tensors and plain values, or no vanilla NeRF.
    """
    advice = "Save it again with the four entries that nerf-pytorch writes."
    content = load_torch_file(Path(path), "nerf-pytorch checkpoint", _MOST_BYTES, advice)
    return unpack_nerf_pytorch(content, str(path))


def unpack_nerf_pytorch(content: Any, source: str = "The checkpoint") -> NerfCheckpoint:
    """Take a checkpoint apart.

    Args:
        content: Dictionary of nerf-pytorch, or of nerf_pl with its ``state_dict``.
        source: What messages call it.

    Returns:
        Its tensors, float32, not sharing memory with ``content``.

    Raises:
        CheckpointError: Something is missing, of an impossible size or not finite.
    """
    if not isinstance(content, dict):
        raise CheckpointError(f"{source} holds a {type(content).__name__}; a nerf-pytorch checkpoint is a dictionary.")
    if "network_fn_state_dict" in content:
        parts = content["network_fn_state_dict"], content.get("network_fine_state_dict")
    elif isinstance(content.get("state_dict"), dict):
        parts = renamed_nerf_pl(content["state_dict"], source)
    else:
        raise CheckpointError(
            f"{source} is no checkpoint of nerf-pytorch or nerf_pl: it has neither 'network_fn_state_dict' nor a "
            f"'state_dict'; its keys are {sorted(map(str, content))[:8]}."
        )
    step = content.get("global_step", 0)
    if type(step) is not int or not 0 <= step < _MOST_STEPS:
        raise CheckpointError(f"{source} has the step {str(step)[:40]!r}; a whole number from 0 is needed.")
    coarse, coarse_shape = _network(parts[0], f"{source}: the coarse network")
    fine, fine_shape = (None, None) if parts[1] is None else _network(parts[1], f"{source}: the fine network")
    return NerfCheckpoint(step, coarse, fine, coarse_shape, fine_shape, content.get(_CENTERS) is True)


def pack_nerf_pytorch(checkpoint: NerfCheckpoint) -> dict[str, Any]:
    """Put the dictionary of a ``.tar`` together; inverts `unpack_nerf_pytorch`.

    The Adam state is a fresh one over the parameters of both networks, in nerf-pytorch's order, so that its training
    goes on from these weights.
    """
    states = [checkpoint.coarse, checkpoint.fine]
    ordered = [None if s is None else {name: s[name].clone() for name in parameter_order(s)} for s in states]
    parameters = [torch.nn.Parameter(value) for state in ordered if state is not None for value in state.values()]
    return {
        "global_step": checkpoint.step,
        "network_fn_state_dict": ordered[0],
        "network_fine_state_dict": ordered[1],
        "optimizer_state_dict": torch.optim.Adam(parameters, lr=_RATE, betas=(0.9, 0.999)).state_dict(),
        **({_CENTERS: True} if checkpoint.pixel_centers else {}),
    }


def write_nerf_pytorch(path: str | Path, checkpoint: NerfCheckpoint) -> None:
    """Write a ``.tar`` that nerf-pytorch loads and goes on training."""
    content = pack_nerf_pytorch(checkpoint)
    with atomic_write(path) as temporary:
        save_torch_file(content, temporary)


def _network(state: Any, source: str) -> tuple[dict[str, Tensor], NetworkShape]:
    """Finite float32 parameters of one network, and its size."""
    if not isinstance(state, Mapping):
        raise CheckpointError(f"{source} is a {type(state).__name__}; a dictionary of tensors is needed.")
    named = {str(name): value for name, value in state.items()}
    for name, value in named.items():
        plain = isinstance(value, Tensor) and value.layout == torch.strided and value.device.type == "cpu"
        if not plain or not value.is_floating_point():
            raise CheckpointError(f"{source}: {name[:60]!r} is no plain tensor of floats.")
    shape = network_shape(named, source)
    for name, value in named.items():
        if not bool(torch.isfinite(value).all()):
            raise CheckpointError(f"{source}: {name!r} holds NaN or infinity; the training had failed.")
    return {name: value.detach().float().clone() for name, value in named.items()}, shape
