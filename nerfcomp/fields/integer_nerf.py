"""One network of a NeRF whose layers hand on integers: floats go in with the encodings and come out of the heads."""

from typing import Any

from torch import Tensor

from nerfcomp.kernels.int8_linear import Grid


def integer_trunk(network: Any, x: Tensor, target: Grid | None) -> Tensor:
    """Features (M, width) of positions (M, 3), on a grid or as float32."""
    points, layers = network.encode_position(x).contiguous(), list(network.pts_linears)
    parts = [layers[0].quantized(points)]
    for number, (layer, following) in enumerate(zip(layers, layers[1:])):
        h = layer.products(parts, relu=True, target=following.grids[-1])
        parts = [following.quantized(points), h] if number in network.skips else [h]
    out: Tensor = layers[-1].products(parts, relu=True, target=target)
    return out


def integer_density(network: Any, x: Tensor) -> Tensor:
    """See `VanillaNeRF.raw_density`."""
    head = network.density_layer
    out: Tensor = head.products([integer_trunk(network, x, head.grids[0])])
    return out[:, 0 if network.use_viewdirs else 3]


def integer_outputs(network: Any, x: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
    """Colour logits (M, 3) and density (M,); see `VanillaNeRF.forward`."""
    if not network.use_viewdirs:
        head = network.output_linear
        out: Tensor = head.products([integer_trunk(network, x, head.grids[0])])
        return out[:, :3], out[:, 3]
    features = integer_trunk(network, x, None)  # two layers read it, each on its own grid
    density: Tensor = network.alpha_linear(features)
    feature, views, rgb = network.feature_linear, network.views_linears[0], network.rgb_linear
    seen = views.quantized(network.encode_direction(d).contiguous(), 1)
    hidden = feature.products([feature.quantized(features)], target=views.grids[0])
    logits: Tensor = rgb.products([views.products([hidden, seen], relu=True, target=rgb.grids[0])])
    return logits, density[:, 0]
