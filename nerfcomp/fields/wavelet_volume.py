"""A volume as quantized wavelet coefficients at its own resolution."""

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from nerfcomp.descriptions import own_arguments
from nerfcomp.fields.volume import VolumeField
from nerfcomp.kernels.interpolation import interpolated
from nerfcomp.kernels.lifting import synthesise
from nerfcomp.limits import MOST_VOXELS

Transform = Literal["wavelets", "interpolation"]
_ON_VOXEL = 1e-3  # distance in voxels within which a position is that of a voxel, which float32 blurs


class OnlyFeature(nn.Module):
    """A head without weights: features (M, 1) are the values (M,)."""

    def forward(self, features: Tensor) -> Tensor:
        """Take the column."""
        return features[:, 0]


class WaveletVolume(VolumeField):
    """Wavelet coefficients of a volume in whole numbers of steps; between voxels values are interpolated trilinearly.

    Nothing is trained: `nerfcomp.rate_control.wavelets` chooses levels for a size or an error.

    Args:
        shape: Voxels along x, y and z.
        step: What one level stands for, in normalised values.
        centroids: Where the coefficients of sizes 1, 2 and above lie, in steps beyond the size.
        transform: ``wavelets``, or ``interpolation``: levels are those of `nerfcomp.kernels.interpolation`.

    Attributes:
        levels: (X, Y, Z) int32.

    Raises:
        ValueError: A shape, step or centroid that cannot be.
    """

    levels: Tensor

    def __init__(
        self,
        shape: Sequence[int],
        step: float,
        centroids: Sequence[float] = (0.0, 0.0, 0.0),
        transform: Transform = "wavelets",
    ) -> None:
        super().__init__()
        self.arguments = own_arguments({**locals(), "shape": list(shape), "centroids": list(centroids)})
        numbers = all(type(n) is int for n in shape) and all(abs(float(c)) <= 1 for c in centroids)
        if len(shape) != 3 or min(shape) < 1 or np.prod(shape, dtype=object) > MOST_VOXELS or len(centroids) != 3:
            raise ValueError(f"Wavelets of a volume of shape {tuple(shape)[:4]} are impossible ({MOST_VOXELS} voxels).")
        if not numbers or not 0 < float(step) < 1e6:
            raise ValueError(f"Wavelets need a positive step and centroids within a step, got {step} and {centroids}.")
        self.lattice = self.shape = (int(shape[0]), int(shape[1]), int(shape[2]))
        self.step, self.centroids = float(step), tuple(float(c) for c in centroids)
        if transform not in get_args(Transform):
            raise ValueError(f"Wavelets or interpolation make a volume, not {str(transform)[:40]!r}.")
        self.transform = transform
        self.head = OnlyFeature()
        self.register_buffer("levels", torch.zeros(self.shape, dtype=torch.int32))
        self._values: Tensor | None = None

    def exact_tensors(self) -> dict[str, Tensor]:
        """The levels."""
        return {"levels": self.levels}

    def take_exact_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Take levels over."""
        self.levels = tensors["levels"].to(self.levels.device)
        self._values = None

    def values(self) -> Tensor:
        """All voxels, normalised, as (X, Y, Z); computed once."""
        if self._values is None:
            levels = self.levels.cpu().numpy()
            if self.transform == "wavelets":
                values = synthesise(reconstructed(levels, self.step, self.centroids))
            else:
                values = interpolated(levels, self.step)
            self._values = torch.from_numpy(values).to(self.levels.device)
        return self._values

    def features(self, x: Tensor) -> Tensor:
        """Values at positions (M, 3) in [-1, 1], as a column (M, 1)."""
        last = torch.tensor(self.shape, device=x.device) - 1
        index = (x.double() * max(int(last.max()), 1) + last) / 2
        near = index.detach().round()
        lattice = bool((index.detach() - near).abs().max() < _ON_VOXEL) and not x.requires_grad
        if lattice:
            a, b, c = near.long().clamp(min=0).minimum(last).unbind(1)
            return self.values()[a, b, c].unsqueeze(1)
        return self._between(index, last).float().unsqueeze(1)

    def _between(self, index: Tensor, last: Tensor) -> Tensor:
        """Interpolate (M,) at fractional voxel coordinates (M, 3)."""
        index = index.clamp(min=0).minimum(last)
        low = index.detach().floor().minimum((last - 1).clamp(min=0)).long()
        share = index - low
        out = torch.zeros(len(index), dtype=torch.float64, device=index.device)
        for corner in np.ndindex(2, 2, 2):
            step = torch.tensor(corner, device=index.device)
            a, b, c = (low + step).minimum(last).unbind(1)
            out = out + torch.where(step == 1, share, 1 - share).prod(dim=1) * self.values()[a, b, c]
        return out


def reconstructed(levels: np.ndarray, step: float, centroids: Sequence[float]) -> np.ndarray:
    """Coefficients that levels stand for: float32 of the same shape.

    >>> reconstructed(np.array([0, 1, -1, 4], np.int32), 0.5, (0.0, 0.0, 0.5)).tolist()
    [0.0, 0.5, -0.5, 2.25]
    """
    beyond = np.array([0.0, *centroids], np.float32)
    sizes = np.abs(levels)
    values = (sizes + beyond[np.minimum(sizes, 3)]) * np.float32(step)
    return np.where(levels < 0, -values, values).astype(np.float32)
