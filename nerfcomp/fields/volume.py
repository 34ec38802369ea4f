"""Fields of scalar volumes: continuous in space, with gradients, over the cube [-1, 1]^3.

Notation: ``x`` is a position in [-1, 1]^3, the same unit along every axis: the longest axis of a volume spans the cube,
shorter ones its middle (see `nerfcomp.geometry.lattice`). Values are normalised: -1 and 1 are the ends of the
volume's range.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from nerfcomp.descriptions import own_arguments
from nerfcomp.fields.activations import snake
from nerfcomp.fields.base import Field
from nerfcomp.fields.encodings import HashGrid

_SLICE = 8192  # points whose hidden layers stay in a core's cache


class ScalarHead(nn.Module):
    """``inputs -> width -> ... -> width -> 1`` with biases.

    Args:
        inputs: Features of a point.
        width: Of the hidden layers.
        hidden_layers: Their number, at least 1.
        periodic: ``0.5 x + sin(x)^2`` (SnakeAlt) between the layers instead of ReLU.

    Raises:
        ValueError: A number below 1.
    """

    def __init__(self, inputs: int, width: int, hidden_layers: int, periodic: bool = False) -> None:
        super().__init__()
        if not (1 <= inputs <= 2**14 and 1 <= width <= 4096 and 1 <= hidden_layers <= 64):
            raise ValueError(
                f"A head of {inputs} inputs and {hidden_layers} layers of {width} is impossible: 1 to 64 layers of 1 "
                "to 4096 channels, and up to 16384 inputs."
            )
        widths = [inputs, *[width] * hidden_layers, 1]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths[:-1], widths[1:]))
        self.periodic = periodic

    def forward(self, features: Tensor) -> Tensor:
        """Map features (M, inputs) to scalars (M,)."""
        for layer in self.layers[:-1]:
            features = layer(features)
            features = snake(features) if self.periodic else torch.relu_(features)
        out: Tensor = self.layers[-1](features)[:, 0]
        return out


class VolumeField(Field):
    """A scalar at every position of the cube: features of a position, then a small network.

    A subclass offers `features` and the ``head`` that reads them.
    """

    head: nn.Module
    lattice: tuple[int, int, int] | None = None  # voxels that a field without other resolutions is made for

    def features(self, x: Tensor) -> Tensor:
        """What the head reads at positions (M, 3) in [-1, 1]: (M, C)."""
        raise TypeError(f"{type(self).__name__} has no features.")

    def forward(self, x: Tensor) -> Tensor:
        """Normalised values (M,) at positions (M, 3) in [-1, 1]."""
        features = self.features(x)
        if torch.is_grad_enabled():
            out: Tensor = self.head(features)
            return out
        return torch.cat([self.head(part) for part in features.split(_SLICE)])

    def exact_tensors(self) -> dict[str, Tensor]:
        """What a file keeps of the field beside its parameters, bit for bit."""
        return {}

    def take_exact_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over what `exact_tensors` gave."""

    @torch.enable_grad()
    def gradients(self, x: Tensor) -> Tensor:
        """Gradients (M, 3) of the normalised value per unit of ``x``: normals of isosurfaces, up to their length.

        Args:
            x: (M, 3) in [-1, 1].
        """
        x = x.detach().requires_grad_()
        (slopes,) = torch.autograd.grad(self(x).sum(), x)
        return slopes


class HashVolume(VolumeField):
    """Multiresolution hash grid and a small network (Mueller et al. 2022) with a scalar at its end.

    Args:
        levels: Levels of the grid.
        features: Features per entry.
        log2_table_size: Largest table, as a power of two.
        base_resolution: Lattice points across the cube on the coarsest level.
        finest_resolution: Lattice points across the cube on the finest level.
        hidden_width: Width of the hidden layers.
        hidden_layers: Their number.

    Raises:
        ValueError: An argument outside its range.
    """

    def __init__(
        self,
        levels: int = 6,
        features: int = 2,
        log2_table_size: int = 16,
        base_resolution: int = 12,
        finest_resolution: int = 128,
        hidden_width: int = 32,
        hidden_layers: int = 2,
    ) -> None:
        super().__init__()
        self.arguments = own_arguments(locals())
        self.grid = HashGrid(levels, features, log2_table_size, base_resolution, finest_resolution)
        self.head = ScalarHead(self.grid.out_features, hidden_width, hidden_layers)

    def features(self, x: Tensor) -> Tensor:
        """Features of all levels at positions (M, 3) in [-1, 1]."""
        out: Tensor = self.grid(0.5 * (x + 1.0))
        return out
