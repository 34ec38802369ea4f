"""Tensors of modules that this program does not know, in ``.nfc`` files of the kind ``tensors``.

Such a file names no class of fields and nothing that could draw it: who wrote it builds the module and loads the
tensors. Parameters are quantized, at a finer step where they have one dimension; buffers and integers are exact.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nerfcomp import __version__
from nerfcomp.artifacts.coded_tensors import SideQP
from nerfcomp.codec import Container, Storage, decode, encode
from nerfcomp.codec.container import ITEM_BYTES, TENSORS

_OWN_SECTION_FROM = 2**14  # elements
_SCALARS = "scalars"  # names of tensors without dimensions; sections hold them as (1,)


def encode_module(module: nn.Module, qp: int, side: SideQP = SideQP()) -> Container:
    """Encode the state of any module.

    Args:
        module: Its parameters may be of any floating type and come back as float32.
        qp: Of parameters with two dimensions or more.
        side: QPs of others.

    Returns:
        The container; the same bytes for the same state.

    Raises:
        ValueError: There is nothing to encode, or a tensor cannot be coded.
    """
    state = module.state_dict()
    trained = {name for name, value in module.named_parameters(remove_duplicate=False) if value.is_floating_point()}
    tensors: dict[str, np.ndarray] = {}
    storage: dict[str, Storage] = {}
    for name, value in state.items():
        _check(name, value, name in trained)
        if name in trained:
            tensors[name] = value.detach().cpu().float().numpy()
            section = f"weights/{name}" if value.numel() >= _OWN_SECTION_FROM else "small"
            storage[name] = Storage(section, qp if value.dim() > 1 else side.bias, folds=False)
        else:
            tensors[name] = value.detach().cpu().numpy()
            storage[name] = Storage(f"exact/{name}")
    if not tensors:
        raise ValueError(
            f"This {type(module).__name__} has neither parameters nor buffers: there is nothing to encode."
        )
    scalars = [name for name, value in state.items() if value.dim() == 0]
    header = {"kind": TENSORS, "writer": f"nerfcomp {__version__}", **({_SCALARS: scalars} if scalars else {})}
    return Container(header, encode(tensors, storage))


def decode_tensors(container: Container, trust: bool = False) -> dict[str, Tensor]:
    """Decode all tensors of a file of any kind.

    Args:
        container: A checked container.
        trust: Run the native decoder, where it is chosen, in this process instead of a limited child.

    Returns:
        Tensors by name; parameters that were quantized are float32.

    Raises:
        ContainerError: A section does not hold what the header promises.
    """
    named = container.header.get(_SCALARS)
    scalars = named if isinstance(named, list) else []
    tensors = {name: torch.from_numpy(value) for name, value in decode(container, trust).items()}
    return {
        name: value.reshape(()) if name in scalars and value.numel() == 1 else value for name, value in tensors.items()
    }


def _check(name: str, value: Any, trained: bool) -> None:
    """Refuse what a file cannot hold."""
    if not isinstance(value, Tensor):
        raise ValueError(
            f"The state of this module has {name!r}, a {type(value).__name__}; only tensors can be encoded."
        )
    kind = str(value.dtype).removeprefix("torch.")
    if value.numel() == 0 or not (trained or kind in ITEM_BYTES):
        raise ValueError(
            f"Tensor {name!r} is {kind} {tuple(value.shape)}; beside trained parameters, files hold "
            f"{', '.join(ITEM_BYTES)}, and nothing that is empty."
        )
