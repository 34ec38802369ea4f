"""Sizes and names of the layers in checkpoints of vanilla NeRFs.

Notation: a trunk of D layers of width W sees an encoding of P numbers, 3 + 6 per octave; the layer behind a skip sees
W + P. The layer that sees the direction has W // 2 outputs.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor

from nerfcomp.errors import CheckpointError

_TRUNK = re.compile(r"pts_linears\.(0|[1-9][0-9]{0,2})\.weight")
_MOST_LAYERS, _MOST_WIDTH = 64, 4096
_NERF_PL = {
    "xyz_encoding_final": "feature_linear",
    "dir_encoding.0": "views_linears.0",
    "sigma": "alpha_linear",
    "rgb.0": "rgb_linear",
}
_NERF_PL_TRUNK = re.compile(r"xyz_encoding_([1-9][0-9]{0,2})\.0")


class NetworkShape(NamedTuple):
    """Size of one network, as `nerfcomp.fields.VanillaNeRF` takes it."""

    depth: int
    width: int
    skips: tuple[int, ...]
    position_frequencies: int
    direction_frequencies: int
    use_viewdirs: bool


def network_shape(state: Mapping[str, Tensor], source: str) -> NetworkShape:
    """Find the size of a network from the shapes of its parameters.

    Args:
        state: Parameters under nerf-pytorch's names.
        source: What messages call it.

    Returns:
        Its size; directions have as many octaves as the parameters need, 4 without view directions.

    Raises:
        CheckpointError: The parameters do not make such a network.
    """
    depth = sum(_TRUNK.fullmatch(name) is not None for name in state)
    first = state.get("pts_linears.0.weight")
    if first is None or first.ndim != 2:
        raise CheckpointError(f"{source} has no 'pts_linears.0.weight'; its tensors are {sorted(state)[:6]}.")
    width, points = first.shape
    if depth > _MOST_LAYERS or max(width, points) > _MOST_WIDTH:
        raise CheckpointError(
            f"{source} has {depth} layers of {width}; at most {_MOST_LAYERS} of {_MOST_WIDTH} are read."
        )
    inputs = [_columns(state, f"pts_linears.{layer}", source) for layer in range(depth)]
    skips = tuple(layer - 1 for layer in range(1, depth) if inputs[layer] == width + points)
    use_viewdirs = "rgb_linear.weight" in state
    directions = _columns(state, "views_linears.0", source) - width
    shape = NetworkShape(
        depth,
        width,
        skips,
        _octaves(points, f"{source}, first layer"),
        _octaves(directions, f"{source}, view layer") if use_viewdirs else 4,
        use_viewdirs,
    )
    outputs = 0 if use_viewdirs else len(state.get("output_linear.weight", first[:0]))
    expected = _shapes(shape, points, directions, outputs)
    found = {name: tuple(value.shape) for name, value in state.items()}
    wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    if wrong or outputs not in (0, 4, 5):
        detail = "; ".join(f"{name}: {found.get(name)}, expected {expected.get(name)}" for name in wrong[:4])
        raise CheckpointError(f"{source} is none of nerf-pytorch's. {detail or f'It has {outputs} outputs.'}")
    return shape


def parameter_order(state: Mapping[str, Tensor]) -> list[str]:
    """Names in the order in which nerf-pytorch's module has its parameters, which its Adam numbers."""
    depth = sum(_TRUNK.fullmatch(name) is not None for name in state)
    heads = ("feature_linear", "alpha_linear", "rgb_linear", "output_linear")
    layers = [*(f"pts_linears.{layer}" for layer in range(depth)), "views_linears.0", *heads]
    return [f"{layer}.{part}" for layer in layers for part in ("weight", "bias") if f"{layer}.{part}" in state]


def renamed_nerf_pl(state: Mapping[Any, Any], source: str) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Sort the parameters of a nerf_pl checkpoint into coarse and fine, under nerf-pytorch's names.

    Raises:
        CheckpointError: There is no coarse network, or a layer is unknown.
    """
    parts: dict[str, dict[str, Any]] = {"nerf_coarse": {}, "nerf_fine": {}}
    for key, value in state.items():
        network, _, name = str(key).partition(".")
        if network in parts:
            parts[network][_from_nerf_pl(name, source)] = value
    if not parts["nerf_coarse"]:
        raise CheckpointError(
            f"{source} has no 'nerf_coarse.' parameters, so it is no nerf_pl checkpoint; its keys are "
            f"{sorted(map(str, state))[:6]}."
        )
    return parts["nerf_coarse"], parts["nerf_fine"] or None


def _from_nerf_pl(name: str, source: str) -> str:
    layer, _, part = name.rpartition(".")
    trunk = _NERF_PL_TRUNK.fullmatch(layer)
    ours = f"pts_linears.{int(trunk[1]) - 1}" if trunk else _NERF_PL.get(layer)
    if ours is None:
        raise CheckpointError(f"{source} has the unknown layer {name[:60]!r}; it is no vanilla NeRF of nerf_pl.")
    return f"{ours}.{part}"


def _columns(state: Mapping[str, Tensor], layer: str, source: str) -> int:
    weight = state.get(f"{layer}.weight")
    if weight is None or weight.ndim != 2:
        raise CheckpointError(f"{source} has no matrix '{layer}.weight'; layers must be numbered without gaps.")
    return weight.shape[1]


def _octaves(numbers: int, source: str) -> int:
    """Octaves of an encoding that is this long."""
    if numbers < 3 or (numbers - 3) % 6:
        raise CheckpointError(f"{source}: an encoding of {numbers} numbers is impossible; 3 + 6 per octave are needed.")
    return (numbers - 3) // 6


def _shapes(shape: NetworkShape, points: int, directions: int, outputs: int) -> dict[str, tuple[int, ...]]:
    """Shapes that a network of that size has."""
    width = shape.width
    rows = {f"pts_linears.{layer}": (width, width) for layer in range(1, shape.depth)}
    rows |= {f"pts_linears.{layer + 1}": (width, width + points) for layer in shape.skips}
    rows |= {"pts_linears.0": (width, points), "views_linears.0": (width // 2, width + directions)}
    if shape.use_viewdirs:
        rows |= {"feature_linear": (width, width), "alpha_linear": (1, width), "rgb_linear": (3, width // 2)}
    else:
        rows |= {"output_linear": (outputs, width)}
    shapes: dict[str, tuple[int, ...]] = {f"{layer}.weight": size for layer, size in rows.items()}
    return shapes | {f"{layer}.bias": size[:1] for layer, size in rows.items()}
