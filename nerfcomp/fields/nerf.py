"""The NeRF of Mildenhall et al. (2020): frequency encodings and two fully connected networks, coarse and fine.

Layers and parameter names are those of nerf-pytorch, a widely used implementation, so that its weights fit as they are.
The encoding sees positions as they are, without any box: world units, or NDC for forward-facing scenes.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from nerfcomp.descriptions import own_arguments, require_between
from nerfcomp.fields.activations import color_activation, density_rectifier
from nerfcomp.fields.base import RadianceField, Shade, density_to_alpha
from nerfcomp.fields.encodings import Frequency
from nerfcomp.fields.integer import all_integer
from nerfcomp.fields.integer_nerf import integer_density, integer_outputs
from nerfcomp.fields.joined import JoinedLinear

Precision = Literal["float32", "bfloat16"]
_DENSITY_BIAS = 0.5  # a network born without any density gets no gradient and stays blank
_POINTS_AT_ONCE = 2**12  # without gradients, on a CPU: what layers hand on stays in the cache
_RANGES = {
    "depth": (1, 64),
    "width": (2, 4096),
    "position_frequencies": (0, 24),
    "direction_frequencies": (0, 24),
    "outputs": (4, 5),
}


class Raw(NamedTuple):
    """What a network says about M points before any activation."""

    rgb: Tensor  # (M, 3) float32, logits of the colour
    density: Tensor  # (M,) float32, the density where positive


def padded_length(length: int) -> int:
    """Round a number of samples up to one of few: a power of two, or 5, 6 or 7 quarters of one; at least 256.

    Matrix libraries for CPUs build a kernel for every new size, which takes longer than using it once.

    >>> [padded_length(n) for n in (1, 256, 257, 1025, 1600)]
    [256, 256, 320, 1280, 1792]
    """
    step = max(64, 1 << max(length - 1, 1).bit_length() >> 3)
    return max(256, -(-length // step) * step)


class VanillaNeRF(nn.Module):
    """One network of a NeRF, from positions and viewing directions to colour logits and density.

    Args:
        depth: Layers of the trunk.
        width: Width of the trunk; the layer that sees the direction has half of it.
        skips: After each of these layers (from 0) the encoded position joins the features again. Layers that the trunk
            does not have are ignored.
        position_frequencies: Octaves of the encoding of positions; 0 gives the network the position alone.
        direction_frequencies: Likewise for directions.
        use_viewdirs: Whether colour depends on the viewing direction.
        outputs: Outputs of the last layer of a network without viewing directions: three colours, the density, and
            perhaps a fifth that nobody reads but nerf-pytorch has.
        precision: Type that the layers compute in; ``bfloat16`` is several times faster on CPUs with matrix units.
            Weights and outputs stay float32.
        coordinates: Of a position.

    Raises:
        ValueError: An argument outside its range.
    """

    def __init__(
        self,
        depth: int = 8,
        width: int = 256,
        skips: Sequence[int] = (4,),
        position_frequencies: int = 10,
        direction_frequencies: int = 4,
        use_viewdirs: bool = True,
        outputs: int = 5,
        precision: Precision = "float32",
        coordinates: int = 3,
    ) -> None:
        super().__init__()
        for name, value in {key: value for key, value in locals().items() if key in _RANGES}.items():
            require_between(*_RANGES[name], **{name: value})
        if not all(type(layer) is int and layer >= 0 for layer in skips) or depth - 1 in skips:
            raise ValueError(f"skips must be layers from 0, none of them the last of {depth}, got {list(skips)}.")
        if precision not in get_args(Precision):
            raise ValueError(f"precision is {precision!r}, allowed are {', '.join(get_args(Precision))}.")
        self.skips = frozenset(skips)
        self.use_viewdirs = use_viewdirs
        self.dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
        self.encode_position, points = _encoding(position_frequencies, coordinates)
        self.encode_direction, directions = _encoding(direction_frequencies) if use_viewdirs else (nn.Identity(), 0)
        inner = [JoinedLinear([points * (layer in self.skips), width], width) for layer in range(depth - 1)]
        self.pts_linears = nn.ModuleList([nn.Linear(points, width), *inner])
        self.views_linears = nn.ModuleList([JoinedLinear([width, directions], width // 2)])
        if use_viewdirs:
            self.feature_linear = nn.Linear(width, width)
            self.alpha_linear = nn.Linear(width, 1)
            self.rgb_linear = nn.Linear(width // 2, 3)
        else:
            self.output_linear = nn.Linear(width, outputs)
        with torch.no_grad():
            self.density_layer.bias[0 if use_viewdirs else 3] = _DENSITY_BIAS

    @property
    def density_layer(self) -> Any:
        """The layer that says the density."""
        return self.alpha_linear if self.use_viewdirs else self.output_linear

    @property
    def in_integers(self) -> bool:
        """Whether all layers multiply integers, so that none of them needs floats."""
        heads = [self.feature_linear, *self.views_linears, self.rgb_linear] if self.use_viewdirs else []
        return all_integer(*self.pts_linears, self.density_layer, *heads)

    def forward(self, x: Tensor, d: Tensor) -> Raw:
        """Ask for positions (M, 3), seen along unit (M, 3)."""
        if len(x) > _POINTS_AT_ONCE and not torch.is_grad_enabled() and x.device.type == "cpu":
            parts = [self(*some) for some in zip(x.split(_POINTS_AT_ONCE), d.split(_POINTS_AT_ONCE))]
            return Raw(*(torch.cat(values) for values in zip(*parts)))
        if self.in_integers:
            return Raw(*integer_outputs(self, x, d))
        count = len(x)
        with self._computing(x):
            features = self._trunk(_pad_rows(x))
            if not self.use_viewdirs:
                out = _at_least_float(self.output_linear(features)[:count])
                return Raw(out[:, :3], out[:, 3])
            density = _at_least_float(self.alpha_linear(features)[:count, 0])
            seen = self._narrowed(self.encode_direction(_pad_rows(d)))
            hidden = torch.relu_(self.views_linears[0](torch.cat([self.feature_linear(features), seen], -1)))
            return Raw(_at_least_float(self.rgb_linear(hidden)[:count]), density)

    def raw_density(self, x: Tensor) -> Tensor:
        """Density (M,) before its rectifier, at positions (M, 3)."""
        if len(x) > _POINTS_AT_ONCE and not torch.is_grad_enabled() and x.device.type == "cpu":
            return torch.cat([self.raw_density(some) for some in x.split(_POINTS_AT_ONCE)])
        if self.in_integers:
            return integer_density(self, x)
        with self._computing(x):
            out: Tensor = self.density_layer(self._trunk(_pad_rows(x)))
        return _at_least_float(out[: len(x), 0 if self.use_viewdirs else 3])

    def _computing(self, x: Tensor) -> torch.autocast:
        return torch.autocast(x.device.type, self.dtype, enabled=self.dtype != torch.float32)

    def _narrowed(self, encoding: Tensor) -> Tensor:
        """An encoding in the type of the layers."""
        return encoding if self.dtype == torch.float32 else encoding.to(self.dtype)

    def _trunk(self, x: Tensor) -> Tensor:
        points = self._narrowed(self.encode_position(x))
        h = points
        for number, layer in enumerate(self.pts_linears):
            h = torch.relu_(layer(h))
            if number in self.skips:
                h = torch.cat([points, h], -1)
        return h


def _encoding(frequencies: int, coordinates: int = 3) -> tuple[nn.Module, int]:
    """An encoding of some coordinates and its length."""
    if frequencies == 0:
        return nn.Identity(), coordinates
    encoding = Frequency(frequencies, coordinates)
    return encoding, encoding.out_features


def _at_least_float(x: Tensor) -> Tensor:
    """Half precision as float32; anything else as it is."""
    return x.float() if x.dtype == torch.bfloat16 else x


def _pad_rows(x: Tensor) -> Tensor:
    """Fill (M, 3) with zeros up to one of few lengths."""
    return pad(x, (0, 0, 0, padded_length(len(x)) - len(x))) if x.device.type == "cpu" else x


class NeRFField(RadianceField):
    """A coarse network that steers the sampling and a fine one that gives the picture.

    Args:
        depth: See `VanillaNeRF`; of both networks.
        width: Likewise.
        skips: Likewise.
        position_frequencies: Likewise.
        direction_frequencies: Likewise.
        use_viewdirs: Likewise.
        fine: Whether there is a fine network; without one the coarse network gives the picture too.
        fine_depth: Depth of the fine network; ``depth`` when absent.
        fine_width: Its width; ``width`` when absent.
        precision: See `VanillaNeRF`.
        density_noise: Standard deviation of the noise added to densities before their rectifier while training.

    Attributes:
        model: The coarse network.
        model_fine: The fine network, or none.
    """

    deep = True

    def __init__(
        self,
        depth: int = 8,
        width: int = 256,
        skips: Sequence[int] = (4,),
        position_frequencies: int = 10,
        direction_frequencies: int = 4,
        use_viewdirs: bool = True,
        fine: bool = True,
        fine_depth: int | None = None,
        fine_width: int | None = None,
        precision: Precision = "float32",
        density_noise: float = 0.0,
    ) -> None:
        super().__init__()
        self.arguments = _json_arguments(locals())
        self.density_noise = density_noise
        outputs = 5 if fine else 4
        shared = (list(skips), position_frequencies, direction_frequencies, use_viewdirs, outputs, precision)
        self.model = VanillaNeRF(depth, width, *shared)
        self.model_fine = VanillaNeRF(fine_depth or depth, fine_width or width, *shared) if fine else None

    def steers(self, name: str) -> bool:
        """Whether a parameter belongs to the coarse network of two."""
        return self.model_fine is not None and name.startswith("model.")

    @property
    def networks(self) -> list[VanillaNeRF]:
        """The coarse network, and the fine one if there is one."""
        return [self.model] if self.model_fine is None else [self.model, self.model_fine]

    def density(self, x: Tensor) -> Tensor:
        """Density (M,) of the picture, per unit length of ``x``, at positions (M, 3)."""
        return torch.relu(self.networks[-1].raw_density(x))

    def shade(self, x: Tensor, d: Tensor, dt: Tensor) -> Shade:
        """Opacity and colour of samples at positions (M, 3), seen along unit (M, 3), of length (M,)."""
        return self._shade(self.networks[-1](x, d), dt)

    def coarse_alpha(self, x: Tensor, d: Tensor, dt: Tensor) -> Tensor:
        """Opacity (M,) that the coarse network says; arguments of `shade`."""
        return self.coarse_peak_alpha(x, dt)

    def coarse_peak_alpha(self, x: Tensor, dt: Tensor) -> Tensor:
        """Opacity (M,) of intervals of length (M,) at positions (M, 3) that the coarse network says."""
        return density_to_alpha(torch.relu(self.model.raw_density(x)), dt)

    def coarse_shade(self, x: Tensor, d: Tensor, dt: Tensor) -> Shade:
        """Opacity and colour that the coarse network says; arguments of `shade`."""
        return self._shade(self.model(x, d), dt)

    def _shade(self, raw: Raw, dt: Tensor) -> Shade:
        density = raw.density
        if self.training and self.density_noise > 0:
            density = density + self.density_noise * torch.randn_like(density)
        density = density_rectifier(density, self.training)
        return Shade(density_to_alpha(density, dt), color_activation(raw.rgb, self.training))


def _json_arguments(values: dict[str, Any]) -> dict[str, Any]:
    """Arguments that rebuild the field, as JSON values."""
    return own_arguments(values, "density_noise") | {"skips": list(values["skips"])}
