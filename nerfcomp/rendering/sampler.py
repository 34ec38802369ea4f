"""Where along each ray a field is evaluated."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nerfcomp.descriptions import require_between
from nerfcomp.geometry.cameras import Camera
from nerfcomp.geometry.rays import Rays, ray_starts
from nerfcomp.kernels.backends import Backend, choose_backend
from nerfcomp.kernels.march import Samples, march
from nerfcomp.kernels.seen_cells import seen_cells
from nerfcomp.kernels.silhouette_cells import silhouette_cells
from nerfcomp.rendering.occupancy import OccupancyGrid, OpacityFunction
from nerfcomp.rendering.visibility import AlphaFunction

_PORTION = 16  # most rays become opaque within these
_CONE = 1 / 256  # of scenes seen from inside, as in instant-ngp


class Sampler(nn.Module):
    """Chooses the samples of rays; what it learns about the scene lives in its buffers.

    Attributes:
        arguments: Constructor arguments as JSON values, so that a checkpoint or a bitstream can rebuild it.
        least_transmittance: Pictures leave out what is behind less transmittance: half a level of 8 bits.
        carried: A bitstream carries ``occupied``; otherwise it follows from the field, see `learn`.
        portion: Samples of a ray that pictures place at a time, see `render_image`; 0 for all.
        portions: Most portions of a ray; absent where nothing limits them.
    """

    least_transmittance = 2.0**-9
    carried = True
    portion = 0
    portions: int | None = None

    arguments: dict[str, Any]
    __call__: Callable[..., Samples]

    def __init__(self) -> None:
        super().__init__()
        self.arguments = {}

    def forward(
        self,
        rays: Rays,
        jitter: Tensor | None = None,
        alpha_fn: AlphaFunction | None = None,
        most: int | None = None,
    ) -> Samples:
        """Place samples along N rays.

        Args:
            rays: N rays.
            jitter: (N,) in [0, 1), shift of each ray's samples in steps; when absent, random while training and else 0.
            alpha_fn: Opacities (K,) of intervals at positions (K, 3), seen along (K, 3), of length (K,), for samplers
                that let a coarse opacity guide them.
            most: Most samples per ray, the nearest ones, for samplers with a ``portion``.

        Returns:
            The samples.
        """
        raise TypeError(f"{type(self).__name__} does not place samples.")

    def set_cascades(self, cascades: int) -> None:
        """Take over the number of nested cubes of the scene, unless told otherwise, and forget the scene of before."""

    def march_into(self, rays: Rays, jitter: Tensor, capacity: int) -> Samples | None:
        """Place samples in a buffer, where that lets a training step go on without waiting for a GPU.

        Args:
            rays: N rays.
            jitter: (N,) in [0, 1), shift of each ray's samples in steps.
            capacity: Number of samples of the result, see `nerfcomp.kernels.march.fitting`.

        Returns:
            The samples; none where there is nothing to gain.
        """
        return None

    def meet(self, camera: Camera, ndc: bool = False) -> None:
        """Learn from where training looks; otherwise every step has to evaluate its rays.

        Args:
            camera: The training views.
            ndc: Rays are marched in normalised device coordinates.
        """

    def prepare(
        self, aabb: Tensor, camera: Camera | None = None, ndc: bool = False, alpha: Tensor | None = None
    ) -> None:
        """Learn the scene before training.

        Args:
            aabb: (2, 3) box of the scene in the marched space.
            camera: The training views.
            ndc: The marched space is not the world, so that the views say nothing about the box.
            alpha: (V, H, W) uint8 opacity of the training views' pixels, where known.
        """

    @property
    def occupied(self) -> Tensor:
        """(C, R, R, R) bool, the cells that are marched through; what a bitstream carries of a sampler."""
        raise TypeError(f"{type(self).__name__} knows no occupancy.")

    def set_occupied(self, occupied: Tensor) -> None:
        """Take over an occupancy (C, R, R, R) from elsewhere."""
        raise TypeError(f"{type(self).__name__} knows no occupancy.")

    def allow(self, cells: Tensor) -> None:
        """Call all cells but these (C, R, R, R) empty for ever, where a bitstream carries what is occupied."""

    def learn(self, opacities: Sequence[OpacityFunction]) -> None:
        """Find out what is empty if that follows from the field; called once before pictures of new weights.

        Args:
            opacities: Opacities (K,) of intervals of length (K,) about positions (K, 3), of every network.
        """

    def update(self, step: int, opacity_fn: OpacityFunction) -> None:
        """Follow the field during training; called before every step.

        Args:
            step: Training step.
            opacity_fn: Opacities (K,) of intervals of length (K,) about positions (K, 3).
        """


class OccupancySampler(Sampler):
    """Equal or growing steps through the occupied cells of a grid.

    Args:
        resolution: Cells of the grid along an axis.
        cascades: Number of nested cubes, each half the size of the next; when absent, that of the scene.
        n_steps: Steps across the diagonal of the innermost cube.
        cone_angle: Growth of a step per unit of distance; when absent 0 for one cube, as objects need it, and 1/256 for
            several, which are seen from inside.
        max_samples: Most samples per ray.
        update_every: Training steps between updates of the grid.
        warmup_steps: Training steps during which an update refreshes all cells of the grid.
        cells_per_update: Cells evaluated per update, see `OccupancyGrid.update`; none is the schedule of the paper.
        decay: Factor by which the density of a cell falls from one refresh of all cells to the next.
        opacity_threshold: Highest opacity, over 1/1024 of the innermost diagonal, of a cell that may count as empty.
        camera_clearance: Cells closer than this to a training camera are empty, in units of the marched space.
        coarse_until: Training step up to which training marches in steps of twice the length: a young field is too
            smooth to need finer ones, and twice the rays fit in the same number of samples.
        seed: Seed of the grid's random places.
        backend: Kernel that marches: ``auto``, ``numba``, ``torch`` or ``triton``.
    """

    grid: OccupancyGrid

    def __init__(
        self,
        resolution: int = 128,
        cascades: int | None = None,
        n_steps: int = 1024,
        cone_angle: float | None = None,
        max_samples: int = 1024,
        update_every: int = 16,
        warmup_steps: int = 256,
        cells_per_update: int | None = None,
        decay: float = 0.95,
        opacity_threshold: float = 0.01,
        camera_clearance: float = 0.0,
        coarse_until: int = 0,
        seed: int = 0,
        backend: Backend = "auto",
    ) -> None:
        super().__init__()
        require_between(1, 2**16, n_steps=n_steps, max_samples=max_samples)
        require_between(1, None, update_every=update_every)
        require_between(0.0, 1.0, cone_angle=cone_angle)
        keep = ("resolution", "cascades", "n_steps", "cone_angle", "max_samples", "opacity_threshold")
        self.arguments = {key: value for key, value in locals().items() if key in keep}
        self._told = cascades, cone_angle
        self._grid = resolution, (decay, warmup_steps // update_every, opacity_threshold, seed)
        self.set_cascades(1)
        self.n_steps = n_steps
        self.max_samples = max_samples
        self.update_every = update_every
        self.cells_per_update = cells_per_update
        self.camera_clearance = camera_clearance
        self.coarse_until = coarse_until
        self.coarse = False
        self._starts: Tensor | None = None
        self.backend: Backend = backend
        self.portion = _PORTION if max_samples % _PORTION == 0 else 0
        self.portions = max_samples // _PORTION

    @property
    def occupied(self) -> Tensor:
        """(C, R, R, R) bool."""
        return self.grid.occupied

    def set_cascades(self, cascades: int) -> None:
        """Take over the scene's number of nested cubes with a grid that knows nothing yet; see the base class."""
        own, cone_angle = self._told
        cascades = own or cascades
        if not hasattr(self, "grid") or cascades != self.grid.cascades:
            resolution, others = self._grid
            self.grid = OccupancyGrid(resolution, cascades, *others)
        self.cone_angle = cone_angle if cone_angle is not None else (0.0 if cascades == 1 else _CONE)
        self.arguments |= {"cascades": cascades, "cone_angle": self.cone_angle}

    @property
    def step_size(self) -> float:
        """Length of the smallest step."""
        length: float = self.grid.diagonal / self.n_steps
        return 2 * length if self.coarse and self.training else length

    def set_occupied(self, occupied: Tensor) -> None:
        """Take over an occupancy (C, R, R, R) from elsewhere."""
        self.grid.set_occupied(occupied)

    def allow(self, cells: Tensor) -> None:
        """Call all cells but these (C, R, R, R) empty for ever."""
        self.grid.allow(cells)

    def prepare(
        self, aabb: Tensor, camera: Camera | None = None, ndc: bool = False, alpha: Tensor | None = None
    ) -> None:
        """Move the grid into the scene's box and rule out what no view sees, or what one sees to be empty."""
        self._starts = None
        self.grid.set_aabb(aabb)
        if camera is not None:
            self.meet(camera, ndc)
        if camera is not None and not ndc:
            cells = self.grid.aabb, self.grid.cascades, self.grid.resolution
            self.grid.allow(seen_cells(*camera, *cells, self.camera_clearance))
            if alpha is not None:
                self.grid.allow(silhouette_cells(*camera[:3], alpha, *cells))

    def meet(self, camera: Camera, ndc: bool = False) -> None:
        """Know how far rays may reach."""
        self._starts = ray_starts(camera, ndc)

    def update(self, step: int, opacity_fn: OpacityFunction) -> None:
        """Refresh the grid when a step is due."""
        self.coarse = step < self.coarse_until
        if step % self.update_every == 0:
            self.grid.update(step // self.update_every, opacity_fn, self.cells_per_update)

    @torch.no_grad()
    def forward(
        self,
        rays: Rays,
        jitter: Tensor | None = None,
        alpha_fn: AlphaFunction | None = None,
        most: int | None = None,
    ) -> Samples:
        """March N rays through the occupied cells."""
        if jitter is None and self.training:
            jitter = torch.rand(len(rays.origins), device=rays.origins.device)
        return self._march(rays, jitter, min(self.max_samples, most or self.max_samples))

    @torch.no_grad()
    def march_into(self, rays: Rays, jitter: Tensor, capacity: int) -> Samples | None:
        """March into a buffer on a GPU; see the base class."""
        if choose_backend("march", self.backend, rays[:4]) != "triton":
            return None
        return self._march(rays, jitter, self.max_samples, self.reach, capacity)

    @property
    def reach(self) -> float | None:
        """A distance from where training rays start that no corner of the box is beyond; unknown without cameras."""
        if self._starts is None:
            return None
        starts, corners = (torch.cartesian_prod(*box.t()) for box in (self._starts, self.grid.box.to(self._starts)))
        return float(torch.cdist(starts, corners).max())

    def _march(
        self,
        rays: Rays,
        jitter: Tensor | None,
        most: int,
        reach: float | None = None,
        capacity: int | None = None,
    ) -> Samples:
        largest = max(self.step_size, self.grid.diagonal * 2 ** (self.grid.cascades - 1) / self.grid.resolution)
        chosen = choose_backend("march", self.backend, rays[:4])
        return march(
            rays.origins,
            rays.directions,
            rays.near,
            rays.far,
            jitter,
            self.occupied,
            self.grid.aabb,
            self.step_size,
            largest,
            self.cone_angle,
            most,
            self.grid.bricks if chosen != "torch" else None,
            self.backend,
            reach,
            capacity,
        )
