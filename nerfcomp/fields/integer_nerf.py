"""One network of a NeRF whose layers hand on integers: floats go in with the encodings and come out of the heads."""

from typing import Any

from torch import Tensor


def integer_trunk(network: Any, x: Tensor) -> list[Tensor]:
    """Inputs of the last layer of the trunk at positions (M, 3)."""
    points, layers = network.encode_position(x).contiguous(), list(network.pts_linears)
    parts = [layers[0].quantized(points)]
    for number, (layer, following) in enumerate(zip(layers, layers[1:])):
        h = layer.products(parts, relu=True, target=following.grids[-1])
        parts = [following.quantized(points), h] if number in network.skips else [h]
    return parts


def integer_heads(network: Any, x: Tensor, head: Any) -> Tensor:
    """What a layer that follows the trunk says (M, outputs)."""
    features = network.pts_linears[-1].products(integer_trunk(network, x), relu=True, target=head.grids[0])
    out: Tensor = head.products([features])
    return out


def integer_density(network: Any, x: Tensor) -> Tensor:
    """See `VanillaNeRF.raw_density`."""
    return integer_heads(network, x, network.density_layer)[:, 0 if network.use_viewdirs else 3]


def integer_outputs(network: Any, x: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
    """Colour logits (M, 3) and density (M,); see `VanillaNeRF.forward`."""
    if not network.use_viewdirs:
        out = integer_heads(network, x, network.output_linear)
        return out[:, :3], out[:, 3]
    feature, views, rgb = network.feature_linear, network.views_linears[0], network.rgb_linear
    grids = network.alpha_linear.grids[0], feature.grids[0]  # two layers read the features
    for_density, features = network.pts_linears[-1].products_twice(integer_trunk(network, x), True, grids)
    density: Tensor = network.alpha_linear.products([for_density])
    seen = views.quantized(network.encode_direction(d).contiguous(), 1)
    hidden = feature.products([features], target=views.grids[0])
    logits: Tensor = rgb.products([views.products([hidden, seen], relu=True, target=rgb.grids[0])])
    return logits, density[:, 0]
