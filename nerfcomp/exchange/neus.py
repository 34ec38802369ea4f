"""Checkpoints of the authors' NeuS (``ckpt_*.pth``) as our fields."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nerfcomp.errors import CheckpointError
from nerfcomp.fields import NeuSField
from nerfcomp.readers.torch_file import load_torch_file

_NETWORKS = {
    "sdf_network_fine": "sdf_network",
    "color_network_fine": "color_network",
    "variance_network_fine": "deviation_network",
}
_MOST_BYTES = 2**28
_ADVICE = "Use a file that exp_runner.py of NeuS has written into its folder checkpoints."


def read_neus(path: Path) -> NeuSField:
    """Read the networks of a checkpoint; its background network (``nerf``) and optimizer are left out.

    Args:
        path: The file.

    Returns:
        The field, in the cube around the unit sphere.

    Raises:
        CheckpointError: The file is missing, damaged, or holds other networks.
    """
    stored = load_torch_file(path, "NeuS checkpoint", _MOST_BYTES, _ADVICE)
    lacking = [name for name in _NETWORKS if not isinstance(stored, dict) or not isinstance(stored.get(name), dict)]
    if lacking:
        raise CheckpointError(f"{path} has no {lacking[0]}. {_ADVICE}")
    tensors = {f"{ours}.{key}": value for theirs, ours in _NETWORKS.items() for key, value in stored[theirs].items()}
    field = NeuSField(**_shape(tensors, path))
    tensors["deviation_network.variance"] = tensors["deviation_network.variance"].reshape(1)
    wanted = {name: value.shape for name, value in field.named_parameters()}
    found = {name: value.shape for name, value in tensors.items()}
    if wanted != found:
        wrong = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
        raise CheckpointError(f"{path}: {wrong[0]} does not fit the published networks.")
    field.load_state_dict({**field.state_dict(), **tensors})
    field.set_aabb(torch.tensor([[-1.0] * 3, [1.0] * 3]))
    return field.eval()


def _shape(tensors: dict[str, Tensor], path: Path) -> dict[str, Any]:
    """Arguments of the field that has tensors of these names and sizes."""
    sdf = _depth(tensors, "sdf_network")
    needed = ("sdf_network.lin0.weight_v", "sdf_network.lin0.bias", "deviation_network.variance")
    if sdf < 3 or any(name not in tensors for name in needed):
        raise CheckpointError(f"{path} lacks layers of the published networks. {_ADVICE}")
    width, encoded = tensors["sdf_network.lin0.bias"].shape[0], tensors["sdf_network.lin0.weight_v"].shape[1]
    narrow = [n for n in range(sdf - 1) if tensors[f"sdf_network.lin{n}.bias"].shape[0] == width - encoded]
    return {
        "sdf_hidden_layers": sdf - 1,
        "hidden_width": width,
        "skip": narrow[0] + 1 if narrow else 4,
        "position_octaves": (encoded - 3) // 6,
        "rgb_hidden_layers": _depth(tensors, "color_network") - 1,
    }


def _depth(tensors: dict[str, Tensor], network: str) -> int:
    """Layers lin0, lin1, ... of a network."""
    return sum(name.startswith(f"{network}.lin") and name.endswith(".bias") for name in tensors)
