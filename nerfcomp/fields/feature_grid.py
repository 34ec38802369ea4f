"""The latent feature grid of fV-SRN, in space or as wavelet coefficients.

Source: Weiss, Hermueller and Westermann, "Fast neural representations for direct volume rendering" (2022); wavelet
coefficients as parameters, which can be pruned, after Rho et al., "Masked wavelet representation" (2023).
"""

import math
from typing import Literal, cast

import torch
from torch import Tensor, nn

from nerfcomp.descriptions import own_arguments
from nerfcomp.fields.encodings import Frequency
from nerfcomp.fields.volume import ScalarHead, VolumeField
from nerfcomp.fields.wavelets import Border, Wavelet, compose, decompose
from nerfcomp.kernels.hash_grid import GridGeometry, hash_encode


class Band(nn.Module):
    """Coefficients of one band of a grid, as ``weight``."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)


class FeatureGrid(nn.Module):
    """A cubic grid of features over the unit cube, interpolated trilinearly; half a cell beyond it all is constant.

    Args:
        features: Features C per point.
        size: Points S along an axis, at least 3.
        wavelet: What is trained are the coefficients of this transform; ``none``: the grid itself.
        border: ``zero`` is the transform of the published networks, with up to three times as many coefficients as grid
            points; ``periodic`` has as many as there are points. See `nerfcomp.fields.wavelets`.

    Attributes:
        bands: Coefficients, coarsest first: ``bands.0.weight`` and so on.

    Raises:
        ValueError: An argument outside its range.
    """

    def __init__(
        self,
        features: int = 16,
        size: int = 15,
        wavelet: Wavelet | Literal["none"] = "db2",
        border: Border = "zero",
    ) -> None:
        super().__init__()
        if not (1 <= features <= 1024 and 3 <= size <= 256):
            raise ValueError(
                f"A grid of {features} features and {size} points along an axis is impossible: 1 to 1024 features, 3 "
                "to 256 points."
            )
        self.size, self.wavelet, self.border = size, wavelet, border
        grid = torch.rand(features, size, size, size)
        bands = [grid] if wavelet == "none" else decompose(grid, wavelet, border)
        self.bands = nn.ModuleList(Band(band) for band in bands)
        entries = (size**3 + 7) // 8 * 8
        self._geometry = GridGeometry((float(size - 2),), (size,), (entries,))

    def grid(self) -> Tensor:
        """Features (C, S, S, S) in space, by z, y and x."""
        weights = [cast(Tensor, band.weight) for band in self.bands]
        if self.wavelet == "none":
            return weights[0]
        return compose(weights, self.size, self.wavelet, self.border)

    def forward(self, x: Tensor) -> Tensor:
        """Features (M, C) at positions (M, 3) in [0, 1]."""
        table = self.grid().flatten(1).t()
        table = nn.functional.pad(table, (0, 0, 0, self._geometry.entries[0] - len(table)))
        return hash_encode(x, [table], self._geometry)


class LatentGridVolume(VolumeField):
    """A feature grid, Fourier features and the position, read by a network of SnakeAlt layers.

    Args:
        features: Features per grid point.
        size: Grid points along an axis.
        wavelet: Transform whose coefficients are trained, or ``none``.
        border: See `FeatureGrid`.
        n_frequencies: Octaves of the Fourier features, the lowest of which has one period per unit of ``x``.
        hidden_width: Width of the hidden layers.
        hidden_layers: Their number.

    Raises:
        ValueError: An argument outside its range.
    """

    def __init__(
        self,
        features: int = 16,
        size: int = 15,
        wavelet: Literal["none", "haar", "db2", "db4"] = "db2",
        border: Literal["zero", "periodic"] = "zero",
        n_frequencies: int = 2,
        hidden_width: int = 32,
        hidden_layers: int = 4,
    ) -> None:
        super().__init__()
        self.arguments = own_arguments(locals())
        self.grid = FeatureGrid(features, size, wavelet, border)
        self.frequencies = Frequency(n_frequencies, include_input=False)
        inputs = 3 + self.frequencies.out_features + features
        self.head = ScalarHead(inputs, hidden_width, hidden_layers, periodic=True)

    def features(self, x: Tensor) -> Tensor:
        """Position, its Fourier features and those of the grid at positions (M, 3) in [-1, 1]."""
        return torch.cat([x, self.frequencies(2 * math.pi * x), self.grid(0.5 * (x + 1.0))], dim=1)
