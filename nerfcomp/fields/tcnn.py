"""The NGP field's grid and networks computed by tinycudann on NVIDIA GPUs; the only file that imports it.

Weights stay where they are, in the field's own named tensors: each call strings them together as tiny-cuda-nn expects
its parameter vector (matrices, (out, in) row by row, the last one padded to a multiple of 16 rows; then the tables),
and gradients flow back the same way. So checkpoints, optimizers, hooks and bitstreams do not know about it.
"""

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from nerfcomp.errors import MissingExtraError

_ROWS = 16
_WIDTHS = (16, 32, 64, 128)


def import_tinycudann() -> Any:
    """Import tinycudann.

    Raises:
        MissingExtraError: It is not installed, or there is no GPU: it looks for one when imported.
    """
    try:
        import tinycudann
    except (ImportError, OSError) as error:
        raise MissingExtraError(
            f"The backend 'tcnn' needs tinycudann and an NVIDIA GPU ({error}). Install it with `pip install "
            "--no-build-isolation 'git+https://github.com/NVlabs/tiny-cuda-nn/#subdirectory=bindings/torch'`, or "
            "choose the backend 'auto'."
        ) from error
    return tinycudann


def pack_parameters(matrices: Sequence[Tensor], tables: Sequence[Tensor] = ()) -> Tensor:
    """String weights together as tiny-cuda-nn's parameter vector; differentiable.

    Args:
        matrices: Weights (out, in) from the first layer to the last.
        tables: Hash tables (T_l, F), coarsest level first.

    Returns:
        The vector.
    """
    *hidden, last = matrices
    padded = nn.functional.pad(last, (0, 0, 0, -last.shape[0] % _ROWS))
    return torch.cat([tensor.reshape(-1) for tensor in (*hidden, padded, *tables)])


class TcnnTwin:
    """Runs the grid and the two networks of an NGP field through tinycudann's fused kernels, in half precision.

    Args:
        arguments: Constructor arguments of the `NGPField`.

    Raises:
        MissingExtraError: tinycudann cannot be imported.
        ValueError: A shape that the fused kernels do not have, or a build that rounds the grid's levels the other way.
    """

    def __init__(self, arguments: dict[str, Any]) -> None:
        _check_shapes(arguments)
        self._tcnn = import_tinycudann()
        self._arguments = arguments

    @cached_property
    def _density(self) -> nn.Module:
        """Built at the first call, when the process has chosen its GPU."""
        arguments = self._arguments
        ratio = arguments["finest_resolution"] / arguments["base_resolution"]
        grid = {
            "otype": "HashGrid",
            "n_levels": arguments["levels"],
            "n_features_per_level": arguments["features"],
            "log2_hashmap_size": arguments["log2_table_size"],
            "base_resolution": arguments["base_resolution"],
            "per_level_scale": math.exp(math.log(ratio) / max(arguments["levels"] - 1, 1)),
        }
        network = _network(arguments["hidden_width"], arguments["density_hidden_layers"])
        pair: nn.Module = self._tcnn.NetworkWithInputEncoding(3, arguments["geometry_features"], grid, network)
        return pair

    @cached_property
    def _rgb(self) -> nn.Module:
        arguments = self._arguments
        inputs = arguments["sh_degree"] ** 2 + arguments["geometry_features"]
        network = _network(arguments["hidden_width"], arguments["rgb_hidden_layers"])
        module: nn.Module = self._tcnn.Network(inputs, 3, network)
        return module

    def geometry(self, x: Tensor, matrices: Sequence[Tensor], tables: Sequence[Tensor]) -> Tensor:
        """Outputs (M, geometry_features) float32 of the density network at positions (M, 3) in [0, 1]."""
        vector = pack_parameters(matrices, tables)
        expected = self._density.get_parameter("params").numel()
        if vector.numel() != expected:
            raise ValueError(
                f"This build of tinycudann gives the grid {expected:,} parameters, the field has {vector.numel():,}. "
                "Choose the other `rounding` of the field ('float32' or 'float64')."
            )
        out: Tensor = functional_call(self._density, {"params": vector}, (x,))
        return out.float()

    def rgb(self, inputs: Tensor, matrices: Sequence[Tensor]) -> Tensor:
        """Outputs (M, 3) float32 of the colour network, before the sigmoid, for (M, sh_degree ** 2 + outputs)."""
        out: Tensor = functional_call(self._rgb, {"params": pack_parameters(matrices)}, (inputs,))
        return out.float()


def _network(width: int, hidden_layers: int) -> dict[str, Any]:
    return {
        "otype": "FullyFusedMLP",
        "activation": "ReLU",
        "output_activation": "None",
        "n_neurons": width,
        "n_hidden_layers": hidden_layers,
    }


def _check_shapes(arguments: dict[str, Any]) -> None:
    """Refuse what the fused kernels cannot do without filling up with columns that the field does not have."""
    encoded = arguments["levels"] * arguments["features"]
    inputs = arguments["sh_degree"] ** 2 + arguments["geometry_features"]
    layers = min(arguments["density_hidden_layers"], arguments["rgb_hidden_layers"])
    if encoded % _ROWS or inputs % _ROWS or layers < 1 or arguments["hidden_width"] not in _WIDTHS:
        raise ValueError(
            f"The backend 'tcnn' cannot run networks with {encoded} and {inputs} inputs, {arguments['hidden_width']} "
            f"neurons and {layers} hidden layers. It takes inputs in multiples of {_ROWS}, {_WIDTHS} neurons and at "
            "least one hidden layer; choose the backend 'auto' for others."
        )
