"""Training the two networks of a vanilla NeRF."""

import torch
from torch import Tensor

from nerfcomp.compression import WeightHook
from nerfcomp.devices import sent
from nerfcomp.errors import SettingsError
from nerfcomp.fields import NeRFField
from nerfcomp.geometry.rays import RayBatch, Rays
from nerfcomp.modules.base import OptimizerFactory, SchedulerFactory
from nerfcomp.modules.processes import RankShares
from nerfcomp.modules.radiance_field import RadianceFieldModule, opacities
from nerfcomp.modules.sized_step import MARCHED, rgb_error, sized_figures
from nerfcomp.modules.stage_before import look_everywhere, meet_again
from nerfcomp.readers.scene import Scene
from nerfcomp.rendering import HierarchicalSampler, OccupancySampler, Rendered, Samples, render
from nerfcomp.rendering.emptiness import occupied_at
from nerfcomp.rendering.metrics import psnr
from nerfcomp.rendering.sized import kept_within
from nerfcomp.rendering.surface_memory import SurfaceMemory
from nerfcomp.rendering.visibility import kept_samples, rays_within, some_rays

_REACH = 1.15  # of the distance to far: planes where other renderers stop are farther away in the corners of a picture
_EMPTY_STREAM = 2**40  # keeps these draws apart from those of the jitter


class VanillaNeRFModule(RadianceFieldModule):
    """A coarse and a fine network trained on rays with known colours.

    By itself this is the training of the paper: the coarse network's weights place the samples of the fine one, both
    are compared with the true colours. That takes 256 evaluations per ray. With a ``training_sampler`` the samples of
    both networks lie in the occupied cells that light reaches, a few per ray: those of the fine one where that sampler
    marches, those of the coarse one where ``sampler`` will evaluate it. Such samples never visit empty space, which
    pictures rendered hierarchically do; so both networks are also told to be empty at random places of it.

    Args:
        field: The two networks.
        sampler: Places the samples of pictures, and of training when there is no ``training_sampler``.
        training_sampler: Places the samples of training.
        optimizer: Makes the optimizer from the parameters.
        scheduler: Makes the schedule from the optimizer and the total number of steps.
        max_samples: With ``training_sampler``, a step uses as many rays as fit in this number of samples.
        coarse_share: Part of these samples, in (0, 1], that the coarse network sees too.
        empty_points: Number of places per step that both networks are told to be empty.
        empty_weight: Weight of that loss.
        empty_margin: The densities there are driven below minus this, before their rectifier.
        init_from: Checkpoint or ``.nfc`` file that the weights start from; ``training_sampler`` goes on with what the
            stage before knew to be empty, or looks for it in the field.
        hooks: What changes how the field computes with its weights, see `FieldModule`.
    """

    field: NeRFField
    sampler: HierarchicalSampler

    def __init__(
        self,
        field: NeRFField,
        sampler: HierarchicalSampler,
        training_sampler: OccupancySampler | None = None,
        optimizer: OptimizerFactory = torch.optim.Adam,
        scheduler: SchedulerFactory | None = None,
        max_samples: int = 2**13,
        coarse_share: float = 0.125,
        empty_points: int = 512,
        empty_weight: float = 0.01,
        empty_margin: float = 1.0,
        init_from: str | None = None,
        hooks: list[WeightHook] | None = None,
    ) -> None:
        super().__init__(
            field,
            sampler,
            optimizer,
            scheduler,
            opacity_weight=0.0,
            max_samples=max_samples,
            init_from=init_from,
            hooks=hooks,
        )
        if not 0.0 < coarse_share <= 1.0:
            raise ValueError(f"coarse_share must lie in (0, 1], got {coarse_share}.")
        self.training_sampler = training_sampler
        self.memory: SurfaceMemory | None = None
        self._remember_nothing()
        self.coarse_share = coarse_share
        self.empty_points = empty_points
        self.empty_weight = empty_weight
        self.empty_margin = empty_margin

    def _remember_nothing(self) -> None:
        """Begin anew with the surfaces that were met, on the grid of ``training_sampler``."""
        if self.training_sampler is not None:
            grid = self.training_sampler.grid
            self.memory = SurfaceMemory(grid.resolution, grid.cascades).to(grid.occupied.device)

    def on_fit_start(self) -> None:
        """Begin with ``init_from``, see the base class, and with what is empty there."""
        super().on_fit_start()
        if self.init_from is None or self.training_sampler is None:
            return
        assert self.memory is not None
        grid = self.training_sampler.grid
        if not (self.resumed or meet_again(self.init_from, self.training_sampler, self.memory, self.field.aabb)):
            self.field.eval()  # ranges of activations do not move yet
            look_everywhere(grid, self.watched(self.field.peak_alpha))
            self.field.train()
        grid.warmup_updates = 0  # a field that is trained is no fog

    def take_cascades(self, cascades: int) -> None:
        """Let the sampler of training have as many nested cubes as the scene needs, too."""
        super().take_cascades(cascades)
        if self.training_sampler is not None:
            self.training_sampler.set_cascades(cascades)
            if self.memory is not None and self.memory.cascades != self.training_sampler.grid.cascades:
                self._remember_nothing()

    def show_views(self, scene: Scene) -> None:
        """Show the training views to both samplers before training."""
        super().show_views(scene)
        if self.training_sampler is not None:
            self.training_sampler.prepare(scene.aabb, scene.camera, scene.ndc, opacities(scene))

    def prepare_tuning(self) -> None:
        """Take from the networks what is empty.

        Raises:
            SettingsError: The grids do not fit.
        """
        if self.training_sampler is None:
            return
        occupied = self.sampler.occupied[:1]
        if self.training_sampler.occupied.shape != occupied.shape:
            raise SettingsError(
                f"training_sampler needs one cascade of resolution {occupied.shape[-1]}, as the field's sampler has."
            )
        self.training_sampler.grid.set_aabb(self.field.aabb)
        self.training_sampler.set_occupied(occupied)

    def meet(self, scene: Scene) -> None:
        """Tell the sampler of training from where it looks."""
        if self.training_sampler is not None:
            self.training_sampler.meet(scene.camera, scene.ndc)

    def training_step(self, batch: RayBatch) -> dict[str, Tensor]:
        """Refresh the occupancy when due, then one step."""
        if self.training_sampler is not None:
            self.training_sampler.update(self.global_step, self.watched(self.field.peak_alpha))
        return super().training_step(batch)

    def on_validation_epoch_start(self) -> None:
        """Find out what is empty, so that pictures take seconds."""
        self.trained.prepare()

    def on_test_epoch_start(self) -> None:
        """Likewise."""
        self.trained.prepare()

    def step(self, batch: RayBatch) -> dict[str, Tensor]:
        """Named losses of one batch of rays, with the figures that callbacks show."""
        if self.training_sampler is None:
            return self._hierarchical_step(batch)
        return self._occupancy_step(batch, self.training_sampler)

    def _hierarchical_step(self, batch: RayBatch) -> dict[str, Tensor]:
        """Both passes over every ray, as pictures are rendered."""
        sampler, jitter = self.sampler, self.jitter(len(batch.rgb))
        t = sampler.distances(batch.rays, jitter)
        coarse = render(self.field.coarse_shade, batch.rays, sampler.place(batch.rays, t).samples, batch.background)
        losses = {"coarse": self.rgb_loss(coarse.rgb, batch.rgb)}
        rendered = coarse
        if sampler.n_importance > 0:
            assert coarse.weights is not None
            t = sampler.refine(t, coarse.weights.detach().view_as(t), jitter)
            samples = sampler.place(batch.rays, t).samples
            rendered = render(self.field.shade, batch.rays, samples, batch.background)
            losses["rgb"] = self.rgb_loss(rendered.rgb, batch.rgb)
        return _summary(losses, rendered, batch.rgb)

    def _occupancy_step(self, batch: RayBatch, training_sampler: OccupancySampler) -> dict[str, Tensor]:
        """Both networks at samples in occupied cells, and at some in empty space."""
        assert self.memory is not None
        aabb, jitter = training_sampler.grid.aabb, self.jitter(len(batch.rgb))
        buffer = training_sampler.march_into(batch.rays, jitter, MARCHED * self.max_samples)
        if buffer is not None:
            return self._sized_occupancy_step(batch, training_sampler, buffer)
        marched = training_sampler(batch.rays, jitter)
        samples = self.memory.lit(marched, aabb)
        n_rays = max(1, rays_within(samples, self.max_samples))
        samples = some_rays(samples, 0, n_rays)
        rays, rgb, background = _leading(batch, n_rays)
        shade = self.field.shade(samples.x, rays.viewdirs.index_select(0, samples.ray_indices), samples.dt)
        self.memory.record(samples, shade.alpha, aabb)
        rendered = render(lambda *_: shade, rays, samples, background)
        losses = {"rgb": self.rgb_loss(rendered.rgb, rgb)}
        losses["coarse"], n_coarse = self._coarse_loss(batch, training_sampler)
        shares = RankShares([n_rays, n_coarse], self.device)
        losses["empty"] = self.empty_weight * self._empty_loss(batch.rays, training_sampler)
        return _summary(losses, rendered, rgb, dict(zip(("rgb", "coarse"), shares.wait())))

    def _sized_occupancy_step(
        self, batch: RayBatch, training_sampler: OccupancySampler, marched: Samples
    ) -> dict[str, Tensor]:
        """`_occupancy_step` on a GPU, which the host does not wait for."""
        assert self.memory is not None
        aabb = training_sampler.grid.aabb
        sized = kept_within(marched, self.memory.lit_rows(marched, aabb), self.max_samples)
        rendered = render(self.field.shade, batch.rays, sized.samples, batch.background)
        assert rendered.shade is not None
        self.memory.record_sized(sized, rendered.shade.alpha.detach(), aabb)
        share = sized.shares(len(batch.rgb))
        losses = {"rgb": rgb_error(rendered.rgb, batch.rgb, share, self.rgb_loss_name)}
        losses["coarse"], n_coarse = self._sized_coarse_loss(batch, training_sampler)
        shares = RankShares(torch.stack([sized.n_rays, n_coarse]), self.device)
        losses["empty"] = self.empty_weight * self._empty_loss(batch.rays, training_sampler)
        figures = sized_figures(rendered, batch, sized)
        return _weighted(losses, figures, dict(zip(("rgb", "coarse"), shares.wait())))

    def _sized_coarse_loss(self, batch: RayBatch, training_sampler: OccupancySampler) -> tuple[Tensor, Tensor]:
        """`_coarse_loss` on a GPU."""
        assert self.memory is not None
        most = max(1, int(self.coarse_share * self.max_samples))
        rays, rgb, background = _leading(batch, most)
        t = self.sampler.distances(rays, self.jitter(len(batch.rgb))[:most])
        samples, aabb = self.sampler.place(rays, t).samples, training_sampler.grid.aabb
        inside = occupied_at(samples.x, training_sampler.occupied, aabb, outside=False)
        seen = samples._replace(dt=samples.dt * inside)  # what is left out hides nothing
        sized = kept_within(samples, inside & self.memory.lit_rows(seen, aabb), most)
        rendered = render(self.field.coarse_shade, rays, sized.samples, background)
        error = rgb_error(rendered.rgb, rgb, sized.shares(len(rgb)), self.rgb_loss_name)
        return error, sized.n_rays

    def _coarse_loss(self, batch: RayBatch, training_sampler: OccupancySampler) -> tuple[Tensor, int]:
        """Error of the coarse network where pictures evaluate it, in occupied cells, and how many rays it is of."""
        assert self.memory is not None
        most = max(1, int(self.coarse_share * self.max_samples))
        rays = Rays(*(value[:most] for value in batch.rays))
        t = self.sampler.distances(rays, self.jitter(len(batch.rgb))[:most])
        samples, aabb = self.sampler.place(rays, t).samples, training_sampler.grid.aabb
        samples = kept_samples(samples, occupied_at(samples.x, training_sampler.occupied, aabb, outside=False))
        samples = self.memory.lit(samples, aabb)
        rays, true, background = _leading(batch, max(1, rays_within(samples, most)))
        samples = some_rays(samples, 0, len(true))
        return self.rgb_loss(render(self.field.coarse_shade, rays, samples, background).rgb, true), len(true)

    def _empty_loss(self, rays: Rays, training_sampler: OccupancySampler) -> Tensor:
        """How far the densities of both networks reach above minus the margin where nothing is."""
        count, device = self.empty_points, rays.near.device
        generator = torch.Generator().manual_seed(self.global_step + _EMPTY_STREAM)
        draws = torch.rand(2, 2 * count * self.trainer.world_size, dtype=torch.float64, generator=generator)
        place, ray = sent(draws[:, self.global_rank :: self.trainer.world_size].contiguous(), device)
        place, some = place.float().unsqueeze(1) * _REACH, (ray * len(rays.near)).long()
        near, far, origins, directions = (v[some] for v in (rays.near, rays.far, rays.origins, rays.directions))
        x = origins + torch.lerp(near, far, place) * directions
        empty = ~occupied_at(x, training_sampler.occupied, training_sampler.grid.aabb, outside=False)
        first = empty & (empty.cumsum(0) <= count)
        if device.type == "cpu":  # a GPU would be asked how many they are, and evaluates all of them
            x, first = x[first], first[first]
        excess = [torch.relu(network.raw_density(x) + self.empty_margin) * first for network in self.field.networks]
        return torch.stack(excess).sum() / count


def _leading(batch: RayBatch, count: int) -> tuple[Rays, Tensor, Tensor]:
    """The first rays of a batch, their colours and backgrounds."""
    return Rays(*(value[:count] for value in batch.rays)), batch.rgb[:count], batch.background[:count]


def _summary(
    losses: dict[str, Tensor], rendered: Rendered, rgb: Tensor, shares: dict[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """Losses, their sum, each times its share among the processes if it has one, and figures to show."""
    assert rendered.samples is not None
    figures = {
        "psnr": psnr(rendered.rgb.detach(), rgb),
        "samples_per_ray": torch.tensor(len(rendered.samples.t) / max(len(rgb), 1)),
        "rays": torch.tensor(float(len(rgb))),
    }
    return _weighted(losses, figures, shares or {})


def _weighted(losses: dict[str, Tensor], figures: dict[str, Tensor], shares: dict[str, Tensor]) -> dict[str, Tensor]:
    """Losses, their sum, each times its share among the processes if it has one, and figures to show."""
    weighted = [loss * shares.get(name, 1.0) for name, loss in losses.items()]
    return {"loss": torch.stack(weighted).sum(), **losses, **figures}
