"""What lies around a unit sphere: the inverted sphere of NeRF++, as NeuS paints the backgrounds of its scenes.

A point at radius r is seen as its direction and 1 / r, so that all of space becomes a ball. Sources: Zhang et al.,
"NeRF++" (2020), section 4; Wang et al., "NeuS" (2021), and its code, whose names parameters have.
"""

import torch
from torch import Tensor
from torch.nn.functional import softplus

from nerfcomp.fields.activations import color_activation
from nerfcomp.fields.base import Shade, density_to_alpha
from nerfcomp.fields.nerf import VanillaNeRF


def inverted(x: Tensor) -> Tensor:
    """Direction and inverse radius (M, 4) of positions (M, 3); inside the unit sphere the radius counts as 1.

    >>> inverted(torch.tensor([[0.0, 3.0, 4.0]]))
    tensor([[0.0000, 0.6000, 0.8000, 0.2000]])
    """
    radius = torch.linalg.vector_norm(x, dim=1, keepdim=True).clamp(1.0, 1e10)
    return torch.cat([x / radius, 1 / radius], 1)


class Outside(VanillaNeRF):
    """Density and colour outside of the unit sphere; lengths are in its radii.

    Args:
        depth: Layers of the trunk.
        width: Width of the trunk.
        position_frequencies: Octaves of the encoding of direction and inverse radius.
        direction_frequencies: Octaves of the encoding of viewing directions.
    """

    def __init__(
        self, depth: int = 8, width: int = 256, position_frequencies: int = 10, direction_frequencies: int = 4
    ) -> None:
        super().__init__(depth, width, (4,), position_frequencies, direction_frequencies, coordinates=4)

    def alpha(self, x: Tensor, dt: Tensor) -> Tensor:
        """Opacity (M,) of intervals of length (M,) at positions (M, 3)."""
        return density_to_alpha(softplus(self.raw_density(inverted(x))), dt)

    def shade(self, x: Tensor, d: Tensor, dt: Tensor) -> Shade:
        """Opacity and colour of intervals of length (M,) at positions (M, 3), seen along unit (M, 3)."""
        raw = self(inverted(x), d)
        return Shade(density_to_alpha(softplus(raw.density), dt), color_activation(raw.rgb, self.training))
