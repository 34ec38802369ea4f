"""Where a scene is empty: a grid of densities that follows a field while it trains.

Notation of this file: ``C`` cascades of ``R^3`` cells, indexed ``[c, x, y, z]``; cascade ``c`` covers the box ``aabb``
shrunk about its centre by ``2^(C - 1 - c)``. Fields give opacities ``alpha`` of intervals of ``1 / 1024`` of
the innermost diagonal; what is kept are densities ``-log(1 - alpha) / interval``, per unit of length of the marched
space.

Source: Müller et al., "Instant Neural Graphics Primitives with a Multiresolution Hash Encoding" (2022), appendix E.2.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from nerfcomp.devices import sent
from nerfcomp.kernels.march.bricks import Bricks, pack_bricks
from nerfcomp.kernels.refresh import refresh
from nerfcomp.process import in_group
from nerfcomp.rendering.cell_draws import chosen_cells, places

OpacityFunction = Callable[[Tensor, Tensor], Tensor]  # of intervals of length (K,) about positions (K, 3), in [0, 1]
_INTERVALS = 1024  # of the innermost diagonal: the interval whose opacity decides
_OPAQUE = 1 - 2.0**-24  # the largest opacity below 1
_CHUNK = 2**18  # cells evaluated at once, or taken for the mean
_MOST_CELLS = 2**25  # 170 MB; files of unknown origin may ask for more
_WARMUP_THRESHOLD = 0.01  # of the threshold that holds later
_WARMUP_FACTOR = 4  # while the scene takes shape, more cells are evaluated
_SPREAD = tuple(1.2207440846057596**-axis for axis in (1, 2, 3))  # multiples of these fill a cube evenly
_SEEDS = 1_000_003  # numbers of updates stay below


class OccupancyGrid(nn.Module):
    """Running maximum of a field's density in every cell, and which cells are worth marching through.

    A cell is occupied while its density exceeds ``min(mean of the positive densities, threshold)``, or while it has
    not been evaluated yet (density infinity). Cells that are called empty for ever have density -1: those that no
    camera sees, and those that a finer cascade covers, where nothing looks them up.

    Args:
        resolution: Cells along an axis, R; divisible by 4.
        cascades: Number of nested cubes, C.
        decay: Factor by which the density of a cell falls from one refresh of all cells to the next.
        warmup_updates: Updates that refresh all cells; later ones refresh some in turn and some of the occupied.
        opacity_threshold: Highest opacity, over 1/1024 of the innermost diagonal, of a cell that may count as empty.
        seed: Seed of the places evaluated, together with the number of the update.

    Attributes:
        aabb: (2, 3) box.
        density: (C, R, R, R) float32.
        occupied: (C, R, R, R) bool.
        agreed: Every process holds the same buffers without being sent them.
    """

    agreed = True
    aabb: Tensor
    density: Tensor
    occupied: Tensor

    def __init__(
        self,
        resolution: int = 128,
        cascades: int = 1,
        decay: float = 0.95,
        warmup_updates: int = 16,
        opacity_threshold: float = 0.01,
        seed: int = 0,
    ) -> None:
        super().__init__()
        possible = 4 <= resolution <= 256 and resolution % 4 == 0 and 1 <= cascades <= 8
        if not possible or cascades * resolution**3 > _MOST_CELLS:
            raise ValueError(
                f"An occupancy grid of {cascades} x {resolution}^3 cells is not possible. "
                f"Allowed: 1 to 8 cascades, a resolution divisible by 4 up to 256, {_MOST_CELLS} cells in all."
            )
        if not (0.0 < decay <= 1.0 and 0.0 < opacity_threshold < 1.0):
            raise ValueError(
                f"Need 0 < decay <= 1 and 0 < opacity_threshold < 1, found {decay} and {opacity_threshold}."
            )
        self.decay = decay
        self.warmup_updates = warmup_updates
        self.opacity_threshold = opacity_threshold
        self.seed = seed
        shape = (cascades, resolution, resolution, resolution)
        self.register_buffer("aabb", torch.tensor([[-1.0] * 3, [1.0] * 3]))
        self.register_buffer("density", torch.full(shape, math.inf))
        self.register_buffer("occupied", torch.ones(shape, dtype=torch.bool))
        self._bricks: tuple[Tensor, int, Bricks] | None = None
        self._box: tuple[Tensor, int, Tensor] | None = None
        self._alive: tuple[Tensor, Tensor] | None = None
        self._drop_covered()

    @property
    def resolution(self) -> int:
        """Cells along an axis."""
        return self.occupied.shape[1]

    @property
    def cascades(self) -> int:
        """Number of nested cubes."""
        return self.occupied.shape[0]

    @property
    def diagonal(self) -> float:
        """Diagonal of the innermost cube."""
        return float(torch.linalg.vector_norm(self.box[1] - self.box[0])) / 2.0 ** (self.cascades - 1)

    @property
    def box(self) -> Tensor:
        """The box on the CPU, copied again after every change: asking a GPU means waiting for it."""
        if self._box is None or self._box[0] is not self.aabb or self._box[1] != self.aabb._version:
            self._box = self.aabb, self.aabb._version, self.aabb.cpu()
        return self._box[2]

    @property
    def bricks(self) -> Bricks:
        """The occupancy as the march reads it, packed again after every change."""
        if self._bricks is None or self._bricks[0] is not self.occupied or self._bricks[1] != self.occupied._version:
            self._bricks = self.occupied, self.occupied._version, pack_bricks(self.occupied)
        return self._bricks[2]

    def set_aabb(self, aabb: Tensor) -> None:
        """Move to another box and forget everything known.

        Args:
            aabb: (2, 3) minimum and maximum corner.

        Raises:
            ValueError: The corners are not finite or not in order.
        """
        if aabb.shape != (2, 3) or not bool(torch.isfinite(aabb).all()) or bool((aabb[1] <= aabb[0]).any()):
            raise ValueError(
                f"The scene box must be two finite corners (min, max) with max > min, got {aabb.tolist()}."
            )
        self.aabb.copy_(aabb)
        self.density.fill_(math.inf)
        self.occupied.fill_(True)
        self._drop_covered()

    def set_occupied(self, occupied: Tensor) -> None:
        """Take over the occupancy of a file as it is, of which the rows in that file follow, covered cells included.

        Cells that it calls empty stay empty for ever.

        Args:
            occupied: (C, R, R, R) bool.

        Raises:
            ValueError: Another shape or type.
        """
        if occupied.shape != self.occupied.shape or occupied.dtype != torch.bool:
            needed, found = tuple(self.occupied.shape), tuple(occupied.shape)
            raise ValueError(f"The occupancy must be bool {needed}, got {occupied.dtype} {found}.")
        self.occupied.copy_(occupied)
        self.density.copy_(torch.where(self.occupied, math.inf, -1.0))
        self._alive = None

    def cell_points(self, cells: Tensor, place: Tensor | float = 0.5, resolution: int | None = None) -> Tensor:
        """Find a point in each cell.

        Args:
            cells: (K,) int64 flat indices into the grid.
            place: (K, 3) in [0, 1], where in the cell; 0.5 is the centre.
            resolution: Cells along an axis; that of the grid when absent.

        Returns:
            (K, 3) positions.
        """
        edge = resolution or self.resolution
        axes = [cells // edge**2 % edge, cells // edge % edge, cells % edge]
        shrink = torch.pow(2.0, cells // edge**3 - (self.cascades - 1)).unsqueeze(1)
        unit = ((torch.stack(axes, 1) + place) * (2 / edge) - 1) * shrink
        return self.aabb.mean(0) + unit * (self.aabb[1] - self.aabb[0]) / 2

    def allow(self, cells: Tensor) -> None:
        """Call all other cells empty for ever.

        Args:
            cells: (C, R, R, R) bool, cells that may be occupied.
        """
        cells = cells.to(self.density.device)
        self.density[~cells] = -1.0
        self._alive = None
        self.occupied &= cells

    @torch.no_grad()
    def update(self, index: int, opacity_fn: OpacityFunction, n_cells: int | None = None) -> None:
        """Evaluate the density of a field in some cells.

        Every process evaluates the same cells and takes the largest density, so that all agree.

        Args:
            index: Number of this update, from 0; it chooses the cells.
            opacity_fn: Opacities (K,) of intervals of length (K,) about positions (K, 3).
            n_cells: Number of cells to evaluate, four times as many during the warm-up, when neighbours share a density
                if there are more cells. None evaluates all of them during the warm-up and then half of them.
        """
        density = self.density.view(-1)
        alive = self._alive_cells()
        cells, interval = alive, torch.ones(())
        if index < self.warmup_updates:
            found = self._evaluate_blocks(index, opacity_fn, alive, n_cells)
        else:
            cells, interval = chosen_cells(alive, self.occupied.view(-1), n_cells, self._number(index))
            found = self._evaluate(
                opacity_fn, self.cell_points(cells, places(len(cells), self._number(index), cells.device))
            )
        refresh(density, cells, found, sent((self.decay**interval).float(), density.device))
        self._threshold_cells(density[alive[:: 1 + len(alive) // _CHUNK]], index < self.warmup_updates)

    @torch.no_grad()
    def rebuild(self, opacity_fn: OpacityFunction, points_per_cell: int = 16) -> None:
        """Evaluate the field everywhere, forgetting the past: the same result whenever and wherever it runs.

        Details thinner than a cell slip through few points: against the grid that training had kept, lego lost 0.3 dB
        by 4 points per cell and 0.01 dB by 16.

        Args:
            opacity_fn: Opacities (K,) of intervals of length (K,) about positions (K, 3).
            points_per_cell: Places evaluated in every cell, evenly spread, the centre first; the largest density
                counts.
        """
        cells = torch.arange(self.density.numel(), device=self.density.device)
        cells = cells[self.density.flatten() >= 0]
        found = torch.zeros(len(cells), device=cells.device)
        for point in range(points_per_cell):
            place = torch.tensor([(0.5 + point * stride) % 1.0 for stride in _SPREAD], device=cells.device)
            found = torch.maximum(found, self._evaluate(opacity_fn, self.cell_points(cells, place)))
        self.density.view(-1)[cells] = found
        self._threshold_cells(found, warm=False)

    def _load_from_state_dict(self, *arguments: Any, **options: Any) -> None:
        """Forget what follows from the buffers."""
        super()._load_from_state_dict(*arguments, **options)
        self._drop_covered()

    def _drop_covered(self) -> None:
        """Call cells empty that a finer cascade covers."""
        inner = slice(self.resolution // 4, 3 * self.resolution // 4)
        covered = slice(1, None), inner, inner, inner
        self.density[covered], self.occupied[covered] = -1.0, False
        self._alive = None

    def _alive_cells(self) -> Tensor:
        """Cells (K,) that may be occupied; on a GPU kept, as the host has to wait for their number."""
        if self._alive is None or self._alive[0] is not self.density or self.density.device.type == "cpu":
            self._alive = self.density, (self.density.view(-1) >= 0).nonzero().squeeze(1)
        return self._alive[1]

    def _number(self, index: int) -> int:
        """What the random places and cells of an update depend on."""
        return self.seed * _SEEDS + index

    def _evaluate_blocks(self, index: int, opacity_fn: OpacityFunction, alive: Tensor, n_cells: int | None) -> Tensor:
        """Density for all cells that may be occupied, one evaluation per block where there are too many of them."""
        edge, most = 1, _WARMUP_FACTOR * (n_cells or self.density.numel())
        while edge < 4 and len(alive) / edge**3 > most:
            edge *= 2
        if edge == 1:
            random = places(len(alive), self._number(index), alive.device)
            return self._evaluate(opacity_fn, self.cell_points(alive, random))
        coarse = self.resolution // edge
        shape = (self.cascades, coarse, 1, coarse, 1, coarse, 1)
        blocks = torch.arange(self.density.numel() // edge**3, device=alive.device)
        points = self.cell_points(blocks, places(len(blocks), self._number(index), blocks.device), coarse)
        found = self._evaluate(opacity_fn, points).view(shape)
        return found.expand(-1, -1, edge, -1, edge, -1, edge).reshape(-1)[alive]

    def _evaluate(self, opacity_fn: OpacityFunction, points: Tensor) -> Tensor:
        """Finite densities at points, the largest that any process found."""
        length = self.diagonal / _INTERVALS
        chunks = torch.split(points, _CHUNK)
        parts = [opacity_fn(chunk, chunk.new_full((len(chunk),), length)).float() for chunk in chunks]
        alpha = (torch.cat(parts) if parts else points.new_zeros(0)).nan_to_num(nan=0.0).clamp(0.0, _OPAQUE)
        found = -torch.log1p(-alpha) / length
        if in_group():
            dist.all_reduce(found, dist.ReduceOp.MAX)
        return found

    def _threshold_cells(self, sample: Tensor, warm: bool) -> None:
        """Decide anew which cells are occupied; the mean density is that of a sample of cells.

        An untrained field is a thin fog, and a cell that training has not reached yet must not count as empty: during
        the warm-up only cells go whose density has been driven far below that of the others.
        """
        known = (sample > 0) & sample.isfinite()
        mean = torch.where(known, sample, 0.0).double().sum() / known.sum().clamp(min=1)
        highest = -math.log1p(-self.opacity_threshold) * _INTERVALS / self.diagonal
        threshold = mean.clamp(max=highest) * (_WARMUP_THRESHOLD if warm else 1.0)
        torch.gt(self.density, threshold, out=self.occupied)
