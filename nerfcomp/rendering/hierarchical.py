"""Hierarchical sampling: a coarse network says where the fine one is evaluated.

Notation of this file: ``N`` rays; ``S`` distances of each in the first pass, ``F`` in the second. A sample stands for
the interval from its distance to the next one's, the last one for all that is behind.

Source: Mildenhall et al., "NeRF" (2020), section 5.2.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from nerfcomp.descriptions import own_arguments
from nerfcomp.geometry.cameras import Camera
from nerfcomp.geometry.rays import Rays
from nerfcomp.kernels.march import Samples
from nerfcomp.rendering.emptiness import find_occupied, occupied_at
from nerfcomp.rendering.occupancy import OccupancyGrid, OpacityFunction
from nerfcomp.rendering.pdf_sampling import intervals, sample_pdf, stratified
from nerfcomp.rendering.sampler import Sampler
from nerfcomp.rendering.visibility import AlphaFunction, follow_light, join_samples, kept_samples

_MOST_EVALUATED = 2**23  # cells; both networks are evaluated in each of them
_RAYS_AT_ONCE = 2**12  # their distances stay in the cache


class Placed(NamedTuple):
    """Samples at some of S distances of N rays.

    Attributes:
        samples: M samples.
        rows: (M,) their indices among all N * S distances, ray after ray.
    """

    samples: Samples
    rows: Tensor


class HierarchicalSampler(Sampler):
    """Stratified distances, and more of them where a coarse opacity puts its weight.

    Once `learn` has evaluated where the networks are empty, samples there are left out in evaluation; the picture
    stays the same, because what is left out has no weight.

    Args:
        n_samples: Distances of the first pass.
        n_importance: Distances that the second pass adds; 0 for a single pass.
        lindisp: Take equal steps of 1 / distance in the first pass, for scenes without end.
        perturb: Move the distances at random while training.
        resolution: Cells of the grid of what is empty, along an axis.
        cascades: Nested cubes of that grid. The innermost is the scene's box; what is beyond all of them is never left
            out.

    Raises:
        ValueError: A number outside its range.
    """

    least_transmittance = 1e-5
    carried = False

    coarse_occupied: Tensor

    def __init__(
        self,
        n_samples: int = 64,
        n_importance: int = 128,
        lindisp: bool = False,
        perturb: bool = True,
        resolution: int = 128,
        cascades: int = 2,
    ) -> None:
        super().__init__()
        if not (3 <= n_samples <= 1024 and 0 <= n_importance <= 1024):
            raise ValueError(f"Need 3 <= n_samples <= 1024 and n_importance <= 1024, got {n_samples}, {n_importance}.")
        if cascades * resolution**3 > _MOST_EVALUATED:
            raise ValueError(
                f"A grid of {cascades} x {resolution}^3 cells takes too long to evaluate before the first picture; at "
                f"most {_MOST_EVALUATED:,} cells are allowed."
            )
        self.arguments = own_arguments(locals())
        self.grid = OccupancyGrid(resolution, cascades)
        self.register_buffer("coarse_occupied", torch.ones_like(self.grid.occupied), persistent=False)
        self.n_samples = n_samples
        self.n_importance = n_importance
        self.lindisp = lindisp
        self.perturb = perturb

    @property
    def occupied(self) -> Tensor:
        """(C, R, R, R) bool, where the last pass evaluates the field."""
        return self.grid.occupied

    def set_occupied(self, occupied: Tensor) -> None:
        """Take over an occupancy (C, R, R, R) of both networks from elsewhere."""
        self.grid.set_occupied(occupied)
        self.coarse_occupied.copy_(occupied)

    def prepare(
        self, aabb: Tensor, camera: Camera | None = None, ndc: bool = False, alpha: Tensor | None = None
    ) -> None:
        """Put the innermost cube of the grid around the scene's box."""
        middle, half = aabb.mean(0), (aabb[1] - aabb[0]) / 2 * 2.0 ** (self.grid.cascades - 1)
        self.grid.set_aabb(torch.stack([middle - half, middle + half]))
        self.coarse_occupied.fill_(True)

    def learn(self, opacities: Sequence[OpacityFunction]) -> None:
        """Find out where each network is empty; see `find_occupied`.

        Args:
            opacities: That of the coarse network first, that of the last pass last.
        """
        found = find_occupied(self.grid, opacities)
        self.grid.set_occupied(found[-1])
        self.coarse_occupied.copy_(found[0])

    @torch.no_grad()
    def forward(
        self,
        rays: Rays,
        jitter: Tensor | None = None,
        alpha_fn: AlphaFunction | None = None,
        most: int | None = None,
    ) -> Samples:
        """Place the samples of the last pass along N rays.

        Raises:
            ValueError: Two passes are wanted, but no opacity steers the second.
        """
        if self.n_importance > 0 and alpha_fn is None:
            raise ValueError("Hierarchical sampling needs the opacity of the coarse network.")
        parts = []
        for begin in range(0, max(len(rays.near), 1), _RAYS_AT_ONCE):
            some = slice(begin, begin + _RAYS_AT_ONCE)
            shifts = None if jitter is None else jitter[some]
            parts.append(self._forward(Rays(*(value[some] for value in rays)), shifts, alpha_fn))
        return join_samples(parts)

    def _forward(self, rays: Rays, jitter: Tensor | None, alpha_fn: AlphaFunction | None) -> Samples:
        t = self.distances(rays, jitter)
        if alpha_fn is None or self.n_importance == 0:
            return self.place(rays, t).samples
        coarse, rows = self.place(rays, t, self.coarse_occupied)
        own = follow_light(coarse, rays.viewdirs, alpha_fn, self.least_transmittance).depths
        before = torch.cumsum(own, 0) - own
        before -= before.index_select(0, coarse.offsets[:-1]).index_select(0, coarse.ray_indices)
        weights = t.new_zeros(t.numel())
        weights[rows] = (torch.exp(-before) * -torch.expm1(-own)).to(t.dtype)
        return self.place(rays, self.refine(t, weights.view_as(t), jitter)).samples

    def distances(self, rays: Rays, jitter: Tensor | None = None) -> Tensor:
        """Distances (N, S) of the first pass."""
        return stratified(rays.near, rays.far, self.n_samples, self._jitter(rays.near, jitter), self.lindisp)

    def refine(self, t: Tensor, weights: Tensor, jitter: Tensor | None = None) -> Tensor:
        """Add the distances of the second pass.

        Args:
            t: (N, S) distances of the first pass.
            weights: (N, S) their weights, >= 0.
            jitter: (N,) in [0, 1).

        Returns:
            (N, S + F) old and new distances, ascending.
        """
        new = sample_pdf(t, weights, self.n_importance, self._jitter(t, jitter))
        return torch.cat([t, new], 1).sort(1).values

    def place(self, rays: Rays, t: Tensor, occupied: Tensor | None = None) -> Placed:
        """Samples at distances (N, S), near to far; in evaluation without those in empty cells, the last one stays.

        Args:
            rays: N rays.
            t: (N, S) ascending.
            occupied: (C, R, R, R) bool; that of the last pass when absent.
        """
        count = t.shape[1]
        x = torch.addcmul(rays.origins[:, None], rays.directions[:, None], t[..., None]).reshape(-1, 3)
        ray_indices = torch.arange(len(t), device=t.device).repeat_interleave(count)
        offsets = torch.arange(len(t) + 1, device=t.device) * count
        samples = Samples(x, t.reshape(-1), intervals(t).reshape(-1), ray_indices, offsets)
        if self.training:
            return Placed(samples, torch.arange(len(x), device=t.device))
        return self._without_empty(samples, self.occupied if occupied is None else occupied)

    def _without_empty(self, samples: Samples, occupied: Tensor) -> Placed:
        keep = occupied_at(samples.x, occupied, self.grid.aabb, outside=True)
        keep[samples.offsets[1:] - 1] = True  # its interval has no end, so that the least density counts
        return Placed(kept_samples(samples, keep), keep.nonzero().squeeze(1))

    def _jitter(self, like: Tensor, jitter: Tensor | None) -> Tensor:
        """The given jitter, or a random one while training; as many as ``like`` has rows."""
        if not (self.training and self.perturb):
            return like.new_zeros(len(like))
        return torch.rand(len(like), device=like.device) if jitter is None else jitter
