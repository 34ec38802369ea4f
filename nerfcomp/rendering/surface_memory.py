"""What training has seen of a field's density, so that samples behind surfaces are dropped without asking for it again.

Notation: samples are packed ray after ray; the optical depth in front of a sample is ``tau``, its transmittance
``exp(-tau)``. One grid of ``C`` cascades of ``R^3`` cells remembers densities per unit of length.
"""

import math

import torch
from torch import Tensor, nn

from nerfcomp.kernels.march import Samples
from nerfcomp.rendering.emptiness import cell_numbers
from nerfcomp.rendering.sized import Sized, depth_in_front
from nerfcomp.rendering.visibility import kept_samples, optical_depth

_TRUSTED = 0.5  # of a remembered density: a cell is rarely as dense everywhere as where it was seen


class SurfaceMemory(nn.Module):
    """Average of the densities that training saw lately in every cell.

    Args:
        resolution: Cells along an axis, R.
        cascades: Number of nested cubes, C.
        least_transmittance: A sample behind less transmittance is dropped; in (0, 1).

    Attributes:
        density: (C * R^3,) float32; 0 where nothing was seen.
    """

    density: Tensor

    def __init__(self, resolution: int = 128, cascades: int = 1, least_transmittance: float = 0.01) -> None:
        super().__init__()
        self.resolution = resolution
        self.cascades = cascades
        self.limit = -math.log(least_transmittance) / _TRUSTED
        self.register_buffer("density", torch.zeros(cascades * resolution**3))

    @torch.no_grad()
    def record(self, samples: Samples, alpha: Tensor, aabb: Tensor) -> None:
        """Remember the opacities (M,) of M samples, in the box ``aabb`` (2, 3)."""
        density = -torch.log1p(-alpha.clamp(max=0.9999)) / samples.dt
        cells, inverse, counts = torch.unique(self._cells(samples, aabb), return_inverse=True, return_counts=True)
        total = torch.zeros(len(cells), device=alpha.device).index_add_(0, inverse, density)
        self.density[cells] = (self.density[cells] + total) / (1 + counts)

    @torch.no_grad()
    def record_sized(self, sized: Sized, alpha: Tensor, aabb: Tensor) -> None:
        """`record` of samples in a buffer, on a GPU that is asked for no number; ``alpha`` has its length."""
        samples, real = sized.samples, sized.real
        density = -torch.log1p(-alpha.clamp(max=0.9999)) / torch.where(real, samples.dt, 1.0)
        cells = self._cells(samples, aabb)
        counts = torch.zeros_like(self.density).index_add_(0, cells, real.float())
        total = torch.zeros_like(self.density).index_add_(0, cells, torch.where(real, density, 0.0))
        self.density.copy_(torch.where(counts > 0, (self.density + total) / (1 + counts), self.density))

    @torch.no_grad()
    def lit_rows(self, samples: Samples, aabb: Tensor) -> Tensor:
        """Which samples (M,) of a buffer `lit` would keep; of rows that belong to no ray anything."""
        own = self.density[self._cells(samples, aabb)] * samples.dt
        return depth_in_front(own, samples) < self.limit

    @torch.no_grad()
    def lit(self, samples: Samples, aabb: Tensor) -> Samples:
        """Keep the samples that light still reaches as far as is remembered.

        Args:
            samples: M samples of N rays, all inside the box.
            aabb: (2, 3) box.

        Returns:
            The kept samples of the same N rays.
        """
        tau = optical_depth(self.density[self._cells(samples, aabb)], samples.dt, samples.offsets)
        return kept_samples(samples, tau < self.limit)

    def _cells(self, samples: Samples, aabb: Tensor) -> Tensor:
        return cell_numbers(samples.x, self.cascades, self.resolution, aabb).clamp(min=0)
