"""Training a surface from images."""

import logging
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from nerfcomp.artifacts.checkpoint import DESCRIPTION_KEY
from nerfcomp.artifacts.surface import SurfaceArtifact
from nerfcomp.fields import SurfaceField
from nerfcomp.fields.surface import Geometry
from nerfcomp.geometry.rays import RayBatch
from nerfcomp.kernels.composite import composite
from nerfcomp.modules.base import OptimizerFactory, SchedulerFactory
from nerfcomp.modules.hull_start import fit_distance
from nerfcomp.modules.radiance_field import RadianceFieldModule
from nerfcomp.optim import GridAdam
from nerfcomp.rendering import Rendered, Sampler, Samples
from nerfcomp.rendering.hull import hull_distance
from nerfcomp.rendering.sized import Sized, kept_within, real_rows, within
from nerfcomp.rendering.surface_losses import curvature_loss, eikonal_loss, mask_loss, unit_share
from nerfcomp.rendering.surface_samples import end_distances, weighty_samples

logger = logging.getLogger(__name__)


class SurfaceModule(RadianceFieldModule):
    """A signed distance and colours trained on rays with known colours.

    Beside the colours, the losses are: eikonal (gradients have length 1, at the samples and at random places of the
    box), mask (opacity is the alpha of the images, where they have one), curvature (second differences vanish; it fades
    as levels come in). Logged with them are 1/s, the width of the surface, and the share of gradients of unit length.

    Args:
        field: The field to train.
        sampler: Chooses where along each ray the field is evaluated.
        optimizer: Makes the optimizer from the parameters.
        scheduler: Makes the schedule from the optimizer and the total number of steps.
        rgb_loss: ``l1`` as published, ``mse``, or ``huber``.
        eikonal_weight: Weight of the eikonal loss.
        mask_weight: Weight of the mask loss.
        curvature_weight: Weight of the curvature loss while normals are taken on the coarsest level.
        opacity_weight: Weight of the entropy of each ray's opacity.
        distortion_weight: Weight of the distortion loss of mip-NeRF 360.
        start_levels: Levels of a hash grid at the first step.
        level_steps: Steps after which one more level comes in; 0 for all levels from the start.
        anneal_steps: Steps until the opacity follows the true slope of the distance alone.
        uniform_points: Random places per step at which gradients shall have length 1.
        sharpen_steps: Steps during which the sharpness is set: its logarithm, per half width of the box, rises evenly
            over ``sharpness``. Afterwards it is learned; left to itself from the start, it takes tens of thousands of
            steps, and surfaces stay fog.
        sharpness: First and last logarithm.
        hull_steps: Steps in which the field learns the visual hull of scenes with alpha before training.
        least_weight: Samples that weigh less in their pixel are not trained on.
        max_samples: A step uses as many of its rays as fit in this number of samples.
        init_from: Checkpoint or ``.nfc`` file that the weights start from.
    """

    field: SurfaceField

    def __init__(
        self,
        field: SurfaceField,
        sampler: Sampler,
        optimizer: OptimizerFactory = GridAdam,
        scheduler: SchedulerFactory | None = None,
        rgb_loss: Literal["mse", "huber", "l1"] = "l1",
        eikonal_weight: float = 0.1,
        mask_weight: float = 0.1,
        curvature_weight: float = 0.0,
        opacity_weight: float = 0.0,
        distortion_weight: float = 0.0,
        start_levels: int = 4,
        level_steps: int = 0,
        anneal_steps: int = 0,
        uniform_points: int = 512,
        sharpen_steps: int = 0,
        sharpness: tuple[float, float] = (3.0, 6.5),
        hull_steps: int = 0,
        least_weight: float = 1e-3,
        max_samples: int = 2**14,
        init_from: str | None = None,
    ) -> None:
        super().__init__(
            field, sampler, optimizer, scheduler, rgb_loss, opacity_weight, distortion_weight, max_samples, init_from
        )
        self.eikonal_weight = eikonal_weight
        self.mask_weight = mask_weight
        self.curvature_weight = curvature_weight
        self.start_levels = start_levels
        self.level_steps = level_steps
        self.anneal_steps = anneal_steps
        self.uniform_points = uniform_points
        self.sharpen_steps = sharpen_steps
        self.sharpness = sharpness
        self.hull_steps = hull_steps
        self.least_weight = least_weight
        self.sized = field.outside is None  # how many samples lie beyond the sphere is known to the field alone

    @property
    def trained(self) -> SurfaceArtifact:
        """The field with all that rendering it needs."""
        assert self.scene is not None, "set up by the trainer"
        return SurfaceArtifact(
            field=self.field, sampler=self.sampler, scene=self.scene, qp=self.qps, rounded=self.rounded
        )

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on, or be evaluated, with the levels that were in use."""
        super().on_load_checkpoint(checkpoint)
        if DESCRIPTION_KEY in checkpoint:
            said = checkpoint[DESCRIPTION_KEY]["field"]["init_args"]
            self.field.set_progress(said.get("active_levels"), said.get("annealed", 1.0))

    def on_fit_start(self) -> None:
        """Start from the visual hull, unless weights come from elsewhere."""
        fresh = self.init_from is None and not self.resumed
        if fresh and self.hull_steps and self.data.scene.has_alpha:
            self.follow_schedule(0)
            error = fit_distance(self.field, hull_distance(self.sampler.occupied), self.hull_steps)
            logger.info("The surface starts from the visual hull, %.1f %% of the box away.", 50 * error)
        super().on_fit_start()

    def choose(self, samples: Samples, viewdirs: Tensor) -> Samples:
        """Those with a weight in their pixel."""
        before, after = end_distances(samples, viewdirs, self.field.sdf)
        alpha = self.watched(self.field.alpha_between)(before, after, samples.dt, samples.x)
        return weighty_samples(samples, alpha, self.least_weight)

    def choose_sized(self, marched: Samples, viewdirs: Tensor) -> Sized:
        """Those with a weight in their pixel."""
        samples = within(marched)
        dt = torch.where(real_rows(marched), samples.dt, 1.0)  # slopes are differences divided by lengths
        with torch.no_grad():
            alpha = self.watched(self.field.alpha)(samples.x, viewdirs.index_select(0, samples.ray_indices), dt)
            weights = composite(alpha, samples.x, samples.t, samples.offsets, 0.0).weights
        return kept_within(marched, weights > self.least_weight, self.max_samples)

    def follow_schedule(self, step: int) -> None:
        """Let levels in and the slope through that are due at a step, and sharpen the surface."""
        if step < self.sharpen_steps:
            first, last = self.sharpness
            self.field.set_sharpness(first + (last - first) * step / self.sharpen_steps)
        annealed = min(1.0, step / self.anneal_steps) if self.anneal_steps else 1.0
        levels = self.start_levels + step // self.level_steps if self.level_steps else None
        most = self.field.level_count
        self.field.set_progress(None if levels is None or levels >= most else levels, annealed)

    def training_step(self, batch: RayBatch) -> dict[str, Tensor]:
        """Follow the schedule, refresh the occupancy when due, then one step."""
        self.follow_schedule(self.global_step)
        return super().training_step(batch)

    def losses(self, rendered: Rendered, batch: RayBatch, n_rays: int) -> dict[str, Tensor]:
        """Weighted losses of the first rays of a batch."""
        alpha = None if batch.alpha is None else batch.alpha[:n_rays]
        return super().losses(rendered, batch, n_rays) | self._surface_losses(rendered, alpha, None, None)

    def sized_losses(self, rendered: Rendered, batch: RayBatch, sized: Sized) -> dict[str, Tensor]:
        """`losses` of the rays that are used."""
        shares = sized.shares(len(batch.rgb)), sized.real
        return super().sized_losses(rendered, batch, sized) | self._surface_losses(rendered, batch.alpha, *shares)

    def _surface_losses(
        self, rendered: Rendered, alpha: Tensor | None, share: Tensor | None, real: Tensor | None
    ) -> dict[str, Tensor]:
        """Losses beside those of the colours; of all rays and samples unless shares and what is real say otherwise."""
        geometry: Geometry = rendered.shade.geometry  # type: ignore[union-attr]
        gradients = torch.cat([geometry.gradients, *self._random_gradients()])
        counts = None if real is None else torch.nn.functional.pad(real, (0, len(gradients) - len(real)), value=True)
        found = {"eikonal": self.eikonal_weight * eikonal_loss(gradients, counts)}
        if alpha is not None and self.mask_weight > 0:
            found["mask"] = self.mask_weight * mask_loss(rendered.opacity, alpha, share)
        if geometry.laplacian is not None and self.curvature_weight > 0:
            weight = self.curvature_weight * self.field.detail
            found["curvature"] = weight * curvature_loss(geometry.laplacian * self.field.half_side, real)
        return found

    def figures(self, rendered: Rendered, batch: RayBatch, n_rays: int) -> dict[str, Tensor]:
        """What callbacks show of a step."""
        return super().figures(rendered, batch, n_rays) | self._surface_figures(rendered, None)

    def sized_figures(self, rendered: Rendered, batch: RayBatch, sized: Sized) -> dict[str, Tensor]:
        """`figures` of the rays that are used."""
        return super().sized_figures(rendered, batch, sized) | self._surface_figures(rendered, sized.real)

    def _surface_figures(self, rendered: Rendered, real: Tensor | None) -> dict[str, Tensor]:
        geometry: Geometry = rendered.shade.geometry  # type: ignore[union-attr]
        share = unit_share(geometry.gradients.detach(), real)
        return {"s_inverse": 1 / self.field.inv_s.detach()[0], "unit_share": share}

    def _random_gradients(self) -> Sequence[Tensor]:
        """Gradients at random places of the box."""
        if self.uniform_points == 0:
            return []
        low, high = self.field.surface_box
        places = low + (high - low) * torch.rand(self.uniform_points, 3, device=low.device)
        return [self.field.geometry(places).gradients]
