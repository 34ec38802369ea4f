"""The networks of NeuS as published: a signed distance of eight layers and a colour of four.

Names of parameters are those of the authors' checkpoints, whose values are therefore read as they are. Sources: Wang et
al., "NeuS" (2021) and its code; Yariv et al., "IDR" (2020); Atzmon and Lipman, "SAL" (2020), for the initial sphere.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from nerfcomp.descriptions import own_arguments, require_between
from nerfcomp.fields.encodings import Frequency
from nerfcomp.fields.outside import Outside
from nerfcomp.fields.surface import Geometry, SurfaceField

_BETA = 100.0
_INITIAL = 0.3  # of the variance: exp(3) per unit
_BEYOND = 0.2  # radii outside of the sphere up to which the distance is asked, as where published gradients count
_OF_BACKGROUND = ("background", "background_depth", "background_width", "cascades")


class WeightNormLinear(nn.Module):
    """Linear layer whose rows are ``weight_g * weight_v / |weight_v|`` (Salimans and Kingma 2016).

    Args:
        in_features: Inputs.
        out_features: Outputs.
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(out_features))
        self.weight_g = nn.Parameter(torch.ones(out_features, 1))
        self.weight_v = nn.Parameter(torch.zeros(out_features, in_features))

    @torch.no_grad()
    def set_weight(self, weight: Tensor) -> None:
        """Take over a plain weight (out, in)."""
        self.weight_v.copy_(weight)
        self.weight_g.copy_(weight.norm(dim=1, keepdim=True))

    @property
    def weight(self) -> Tensor:
        """(out, in) what the layer computes with."""
        return torch._weight_norm(self.weight_v, self.weight_g, 0)

    def forward(self, x: Tensor) -> Tensor:
        """Map (M, in) to (M, out)."""
        return torch.nn.functional.linear(x, self.weight, self.bias)


class _Layers(nn.Module):
    """Layers ``lin0``, ``lin1``, ... of given widths."""

    def __init__(self, shapes: list[tuple[int, int]], weight_norm: bool) -> None:
        super().__init__()
        for number, (inputs, outputs) in enumerate(shapes):
            layer = WeightNormLinear(inputs, outputs) if weight_norm else nn.Linear(inputs, outputs)
            self.add_module(f"lin{number}", layer)

    @property
    def layers(self) -> list[Any]:
        return list(self.children())


class _Deviation(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.variance = nn.Parameter(torch.full((1,), _INITIAL))


class NeuSField(SurfaceField):
    """Position -> distance and features; position, direction, gradient and features -> colour.

    Args:
        sdf_hidden_layers: Hidden layers of the distance; 8 as published.
        hidden_width: Width of all hidden layers and number of features; 256 as published.
        skip: Layer of the distance that sees the position once more.
        position_octaves: Octaves of the encoding of positions.
        direction_octaves: Octaves of the encoding of directions.
        rgb_hidden_layers: Hidden layers of the colour; 4 as published.
        sphere_radius: Radius of the initial surface, in half widths of the cube.
        weight_norm: Weights are a direction and a length each, as they are trained; plain ones are coded.
        annealed: See `SurfaceField`.
        background: Say what lies around the unit sphere, too, as the published field does of scenes without masks. The
            reader's ``surroundings`` let rays go on that far.
        background_depth: Layers of the network that does; 8 as published.
        background_width: Their width; 256 as published.
        cascades: Nested cubes of a scene with surroundings; those of the scene that it is trained on when absent.

    Raises:
        ValueError: An argument outside its range.
    """

    deep = True

    def __init__(
        self,
        sdf_hidden_layers: int = 8,
        hidden_width: int = 256,
        skip: int = 4,
        position_octaves: int = 6,
        direction_octaves: int = 4,
        rgb_hidden_layers: int = 4,
        sphere_radius: float = 0.5,
        weight_norm: bool = True,
        annealed: float = 1.0,
        background: bool = False,
        background_depth: int = 8,
        background_width: int = 256,
        cascades: int | None = None,
    ) -> None:
        super().__init__()
        if not (2 <= sdf_hidden_layers <= 16 and 1 <= rgb_hidden_layers <= 16 and 40 <= hidden_width <= 1024):
            raise ValueError("NeuS has 2 to 16 hidden layers of the distance, 1 to 16 of the colour, 40 to 1024 wide.")
        if not (0 < skip < sdf_hidden_layers and 1 <= position_octaves <= 16 and 1 <= direction_octaves <= 16):
            raise ValueError(f"skip must lie between 1 and {sdf_hidden_layers - 1}, octaves between 1 and 16.")
        self.arguments = own_arguments(locals(), *(() if background else _OF_BACKGROUND))
        self.position, self.direction = Frequency(position_octaves), Frequency(direction_octaves)
        self.skip, encoded = skip, self.position.out_features
        widths = [encoded, *[hidden_width] * sdf_hidden_layers, hidden_width + 1]
        outs = [width - encoded if layer == skip else width for layer, width in enumerate(widths)][1:]
        self.sdf_network = _Layers(list(zip(widths[:-1], outs)), weight_norm)
        inputs = 3 + self.direction.out_features + 3 + hidden_width
        widths = [inputs, *[hidden_width] * rgb_hidden_layers, 3]
        self.color_network = _Layers(list(zip(widths[:-1], widths[1:])), weight_norm)
        self.deviation_network = _Deviation()
        self._make_sphere(encoded, sphere_radius)
        self._make_colors()
        if background:
            require_between(1, 8, cascades=cascades)
            self.outside = Outside(background_depth, background_width)
        self._told = cascades
        self.set_cascades(1)
        self.set_progress(None, annealed)

    def set_cascades(self, cascades: int) -> None:
        """Keep the sphere within the innermost of the scene's nested cubes, where there are surroundings."""
        if self.outside is not None:
            self.cascades = self._told or cascades
            self.arguments["cascades"] = self.cascades

    @torch.no_grad()
    def _make_sphere(self, encoded: int, radius: float) -> None:
        """Geometric initialisation: the distance to a sphere, of the position alone."""
        *hidden, last = self.sdf_network.layers
        for number, layer in enumerate(hidden):
            weight = torch.empty_like(layer.weight).normal_(0.0, math.sqrt(2 / len(layer.bias)))
            if number == 0:
                weight[:, 3:] = 0.0
            elif number == self.skip:
                weight[:, 3 - encoded :] = 0.0
            _set(layer, weight, 0.0)
        mean = math.sqrt(math.pi / last.weight.shape[1])
        _set(last, torch.empty_like(last.weight).normal_(mean, 1e-4), -radius)

    def _make_colors(self) -> None:
        for layer in self.color_network.layers:
            bound = 1 / math.sqrt(layer.weight.shape[1])
            _set(layer, torch.empty_like(layer.weight).uniform_(-bound, bound), 0.0)

    @property
    def inv_s(self) -> Tensor:
        """(1,) sharpness: ``exp(10 variance)`` per half width of the cube."""
        return torch.exp(self.deviation_network.variance * 10).clamp(1e-6, 1e6) / self.half_side

    @torch.no_grad()
    def set_sharpness(self, value: float) -> None:
        """Make the sharpness ``exp(value)`` per half width of the cube."""
        self.deviation_network.variance.fill_(value / 10)

    def _network(self, position: Tensor) -> Tensor:
        """Distance and features (M, 1 + width) at positions (M, 3) in the unit sphere."""
        encoded = self.position(position)
        values = encoded
        *hidden, last = self.sdf_network.layers
        for number, layer in enumerate(hidden):
            if number == self.skip:
                values = torch.cat([values, encoded], 1) / math.sqrt(2)
            values = softplus(layer(values), _BETA)
        out: Tensor = last(values)
        return out

    def sdf(self, x: Tensor) -> Tensor:
        """Signed distance (M,) at positions (M, 3), positive outside; far beyond the sphere, the distance to it."""
        position = self.to_sphere(x)
        if self.outside is None:
            return self._network(position)[:, 0] * self.half_side
        away: Tensor = torch.linalg.vector_norm(position, dim=1) - 1
        near = (away < _BEYOND).nonzero().squeeze(1)
        return away.index_copy(0, near, self._network(position[near])[:, 0]) * self.half_side

    def geometry(self, x: Tensor) -> Geometry:
        """Distance, its exact gradient, which can be differentiated again while training, and features."""
        wanted = torch.is_grad_enabled()
        with torch.enable_grad():
            position = self.to_sphere(x)
            position = position if position.requires_grad else position.detach().requires_grad_()
            out = self._network(position)
            (gradients,) = torch.autograd.grad(out[:, 0].sum(), position, create_graph=wanted)
        if not wanted:
            out = out.detach()
        return Geometry(out[:, 0] * self.half_side, gradients, out[:, 1:])

    def color(self, x: Tensor, d: Tensor, geometry: Geometry) -> Tensor:
        """Colours (M, 3); the gradient is not normalised, as published."""
        inputs = [self.to_sphere(x), self.direction(d), geometry.gradients, geometry.features]
        values = torch.cat(inputs, 1)
        *hidden, last = self.color_network.layers
        for layer in hidden:
            values = torch.relu(layer(values))
        return torch.sigmoid(last(values))

    @torch.no_grad()
    def folded(self) -> "NeuSField":
        """The same field without weight norm."""
        if not self.arguments["weight_norm"]:
            return self
        plain = NeuSField(**{**self.arguments, "weight_norm": False}).to(self.aabb.device)
        plain.set_aabb(self.aabb)
        plain.deviation_network.load_state_dict(self.deviation_network.state_dict())
        if plain.outside is not None and self.outside is not None:
            plain.outside.load_state_dict(self.outside.state_dict())
        for ours, theirs in ((plain.sdf_network, self.sdf_network), (plain.color_network, self.color_network)):
            for layer, source in zip(ours.layers, theirs.layers):
                layer.weight.copy_(source.weight)
                layer.bias.copy_(source.bias)
        return plain.train(self.training)


@torch.no_grad()
def _set(layer: Any, weight: Tensor, bias: float) -> None:
    """Give a layer of either kind a weight and a constant bias."""
    if hasattr(layer, "set_weight"):
        layer.set_weight(weight)
    else:
        layer.weight.copy_(weight)
    nn.init.constant_(layer.bias, bias)
