"""Training a radiance field from images: the teacher."""

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from nerfcomp.artifacts.checkpoint import DESCRIPTION_KEY
from nerfcomp.artifacts.convention import continued
from nerfcomp.artifacts.kinds import of_kind
from nerfcomp.artifacts.radiance_field import RadianceFieldArtifact
from nerfcomp.artifacts.reading import read_artifact
from nerfcomp.artifacts.runs import is_there
from nerfcomp.artifacts.scene_info import SceneInfo
from nerfcomp.compression import WeightHook, load_plain
from nerfcomp.descriptions import require_between
from nerfcomp.devices import sent
from nerfcomp.errors import SettingsError
from nerfcomp.fields import RadianceField
from nerfcomp.fields.base import Shade
from nerfcomp.geometry.cameras import view_spacing
from nerfcomp.geometry.rays import RayBatch, Rays, begun_later, turned_directions
from nerfcomp.modules.base import OptimizerFactory, SchedulerFactory
from nerfcomp.modules.evaluation import EvaluatedModule
from nerfcomp.modules.processes import RankShares
from nerfcomp.modules.sized_step import MARCHED, sized_figures, sized_losses
from nerfcomp.optim import GridAdam
from nerfcomp.readers.scene import Scene
from nerfcomp.rendering import Rendered, Sampler, Samples, render
from nerfcomp.rendering.losses import distortion_loss, opacity_entropy_loss
from nerfcomp.rendering.metrics import psnr
from nerfcomp.rendering.sized import Sized, sized_samples
from nerfcomp.rendering.visibility import affordable_samples, visible_samples

_RGB_LOSSES = {
    "mse": torch.nn.functional.mse_loss,
    "huber": torch.nn.functional.smooth_l1_loss,
    "l1": torch.nn.functional.l1_loss,
}
_NOISE_SEEDS = 2**40  # of directions, apart from those of jitter
_LATEST = 0.75  # of the way to the middle of the box: where rays begin in the first step of ``near_annealing``


class RadianceFieldModule(EvaluatedModule):
    """A radiance field trained on rays with known colours.

    Args:
        field: The field to train.
        sampler: Chooses where along each ray the field is evaluated.
        optimizer: Makes the optimizer from the parameters.
        scheduler: Makes the schedule from the optimizer and the total number of steps.
        rgb_loss: ``mse``, ``l1``, or ``huber`` (smooth L1 with its bend at 1).
        opacity_weight: Weight of the entropy of each ray's opacity, which pushes rays to be empty or solid.
        distortion_weight: Weight of the distortion loss of mip-NeRF 360, which pulls a ray's samples together.
        max_samples: A step uses as many of its rays as fit in this number of samples, so that its cost stays level
            while the empty space is still unknown.
        init_from: Checkpoint or ``.nfc`` file that the weights start from, hooks on them baked.
        hooks: What changes how the field computes with its weights, see `FieldModule`.
        viewdir_noise: Turns the directions that the field is shown in training by random angles: this many times the
            angle between neighbouring views, as a root mean square. What few cameras see of a colour says nothing of
            the directions between them, and a field may put any tint there; so it learns the nearest views' colours.
        near_annealing: Share of the run during which rays of captures begin farther from their camera, at first after
            three quarters of the way to the middle of the box. A field that does not know the scene yet would explain
            each of few photographs by a cloud of its own in front of its camera. Not for scenes in NDC, and not with
            ``init_from``.
    """

    sized = True  # on a GPU, a step takes place in buffers of fixed size

    def __init__(
        self,
        field: RadianceField,
        sampler: Sampler,
        optimizer: OptimizerFactory = GridAdam,
        scheduler: SchedulerFactory | None = None,
        rgb_loss: Literal["mse", "huber", "l1"] = "mse",
        opacity_weight: float = 1e-3,
        distortion_weight: float = 0.0,
        max_samples: int = 2**18,
        init_from: str | None = None,
        hooks: list[WeightHook] | None = None,
        viewdir_noise: float = 0.0,
        near_annealing: float = 0.0,
    ) -> None:
        super().__init__(optimizer, scheduler, init_from, hooks)
        require_between(1, max_samples=max_samples)
        require_between(0.0, 2.0, viewdir_noise=viewdir_noise)
        require_between(0.0, 1.0, near_annealing=near_annealing)
        self.save_hyperparameters()
        self.field = field
        self.sampler = sampler
        self.rgb_loss, self.rgb_loss_name = _RGB_LOSSES[rgb_loss], rgb_loss
        self.opacity_weight = opacity_weight
        self.distortion_weight = distortion_weight
        self.max_samples = max_samples
        self.viewdir_noise = viewdir_noise
        self.near_annealing = near_annealing
        self.view_spacing = 0.0  # radians
        self.scene: SceneInfo | None = None

    def setup(self, stage: str) -> None:
        """Take cameras and box from the datamodule; what a checkpoint or ``init_from`` says of the box comes later."""
        self.resumed = False
        self._take_scene()
        self.take_cascades(self._known_cascades() if stage == "fit" else self.data.scene.cascades)
        if stage == "fit" and self.init_from is None:
            self.field.set_aabb(self.data.scene.aabb)
            self.show_views(self.data.scene)
        self.attach_hooks(self.field)

    def on_fit_start(self) -> None:
        """Take weights over from ``init_from``, unless the run is resumed and has weights of its own.

        Box, distances and rays stay with the weights; the datamodule follows them.
        """
        super().on_fit_start()
        if self.near_annealing > 0.0 and self.trainer.estimated_stepping_batches == float("inf"):
            raise SettingsError("near_annealing is a share of the run, which has no end: give --trainer.max_steps.")
        if self.init_from is None or self.resumed:
            return
        start = of_kind(read_artifact(self.init_from), RadianceFieldArtifact, "This stage starts from")
        continued(self.data.scene, start.scene)
        self.follow(start.scene)
        self.show_views(self.data.scene)
        load_plain(self.field, start.without_hooks().field.state_dict())
        self.sampler.load_state_dict(start.sampler.state_dict())

    def take_cascades(self, cascades: int) -> None:
        """Let field and sampler have as many nested cubes as the scene needs, unless they were told otherwise."""
        self.field.set_cascades(cascades)
        self.sampler.set_cascades(cascades)

    def _known_cascades(self) -> int:
        """Nested cubes of the stage before, if this one goes on from it, else of the scene."""
        if self.init_from is None or not is_there(self.init_from):
            return int(self.data.scene.cascades)
        return int(read_artifact(self.init_from).field.arguments.get("cascades", 1))

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Hook weights and show views as the checkpoint's field was trained; no ``init_from`` is needed any more."""
        super().on_load_checkpoint(checkpoint)
        if DESCRIPTION_KEY in checkpoint:
            self.qps = checkpoint[DESCRIPTION_KEY].get("qp")
            self.rounded = bool(checkpoint[DESCRIPTION_KEY].get("rounded"))
            cascades = checkpoint[DESCRIPTION_KEY]["field"]["init_args"].get("cascades")
            if cascades is not None:  # other fields have those of the scene
                self.take_cascades(cascades)
            self.take_hooks(checkpoint, self.field)
        if DESCRIPTION_KEY in checkpoint and self.scene is not None:
            self.follow(SceneInfo.from_json(checkpoint[DESCRIPTION_KEY]["scene"]))

    def follow(self, known: SceneInfo) -> None:
        """Keep the box, the distances and the rays of a field's training, with the views of this run."""
        self.data.follow(known)
        self._take_scene()

    def _take_scene(self) -> None:
        red, green, blue = self.data.background.tolist()
        self.scene = SceneInfo.from_scene(self.data.scene, (red, green, blue))
        self.view_spacing = view_spacing(self.data.scene.camera)

    def show_views(self, scene: Scene) -> None:
        """Show the training views to the sampler before training."""
        self.sampler.prepare(scene.aabb, scene.camera, scene.ndc, opacities(scene))

    def meet(self, scene: Scene) -> None:
        """Tell the sampler from where training looks."""
        self.sampler.meet(scene.camera, scene.ndc)

    @property
    def data(self) -> Any:
        """The datamodule."""
        return self.trainer.datamodule  # type: ignore[attr-defined]

    @property
    def trained(self) -> RadianceFieldArtifact:
        """The field with all that rendering it needs."""
        assert self.scene is not None, "set up by the trainer"
        return RadianceFieldArtifact(
            field=self.field, sampler=self.sampler, scene=self.scene, qp=self.qps, rounded=self.rounded
        )

    def step(self, batch: RayBatch) -> dict[str, Tensor]:
        """Named losses of one batch of rays, with the figures that callbacks show."""
        jitter = self.jitter(len(batch.rgb))
        batch = batch._replace(rays=self.turned(self.begun(batch.rays)))
        with self.stage("march"):
            buffer = self.sampler.march_into(batch.rays, jitter, MARCHED * self.max_samples) if self.sized else None
            marched = self.sampler(batch.rays, jitter) if buffer is None else buffer
        if buffer is not None:
            return self._sized_step(batch, buffer)
        with self.stage("visibility"):
            samples, n_rays = affordable_samples(marched, batch.rays.viewdirs, self.choose, self.max_samples)
        shares = RankShares([n_rays], self.device)
        rays = Rays(*(value[:n_rays] for value in batch.rays))
        rendered = render(self.shade, rays, samples, batch.background[:n_rays])
        losses, figures = self.losses(rendered, batch, n_rays), self.figures(rendered, batch, n_rays)
        return {"loss": torch.stack(list(losses.values())).sum() * shares.wait()[0], **losses, **figures}

    def shade(self, x: Tensor, d: Tensor, dt: Tensor) -> Shade:
        """What the field says of samples."""
        with self.stage("field"):
            return self.field.shade(x, d, dt)

    def _sized_step(self, batch: RayBatch, marched: Samples) -> dict[str, Tensor]:
        """`step` on a GPU, which the host does not wait for."""
        sized = self.choose_sized(marched, batch.rays.viewdirs)
        shares = RankShares(sized.n_rays.view(1), self.device)
        rendered = render(self.shade, batch.rays, sized.samples, batch.background)
        losses = self.sized_losses(rendered, batch, sized)
        loss = torch.stack(list(losses.values())).sum() * shares.wait()[0]
        return {"loss": loss, **losses, **self.sized_figures(rendered, batch, sized)}

    def choose_sized(self, marched: Samples, viewdirs: Tensor) -> Sized:
        """`choose` of the leading rays of a buffer whose samples fit in ``max_samples``."""
        return sized_samples(marched, viewdirs, self.watched(self.field.alpha), self.max_samples)

    def sized_losses(self, rendered: Rendered, batch: RayBatch, sized: Sized) -> dict[str, Tensor]:
        """`losses` of the rays that are used."""
        return sized_losses(rendered, batch, sized, self.rgb_loss_name, (self.opacity_weight, self.distortion_weight))

    def sized_figures(self, rendered: Rendered, batch: RayBatch, sized: Sized) -> dict[str, Tensor]:
        """`figures` of the rays that are used."""
        return sized_figures(rendered, batch, sized)

    def choose(self, samples: Samples, viewdirs: Tensor) -> Samples:
        """The samples of rays with directions (N, 3) on which a step trains: those that light reaches."""
        return visible_samples(samples, viewdirs, self.watched(self.field.alpha))

    def losses(self, rendered: Rendered, batch: RayBatch, n_rays: int) -> dict[str, Tensor]:
        """Weighted losses of the first ``n_rays`` rays of a batch, by name."""
        losses = {"rgb": self.rgb_loss(rendered.rgb, batch.rgb[:n_rays])}
        if self.opacity_weight > 0:
            losses["opacity"] = self.opacity_weight * opacity_entropy_loss(rendered.opacity)
        if self.distortion_weight > 0:
            losses["distortion"] = self.distortion_weight * distortion_loss(rendered, n_rays)
        return losses

    def figures(self, rendered: Rendered, batch: RayBatch, n_rays: int) -> dict[str, Tensor]:
        """Further figures of a step, by name."""
        assert rendered.samples is not None, "of render()"
        return {
            "psnr": psnr(rendered.rgb.detach(), batch.rgb[:n_rays]),
            "samples_per_ray": torch.tensor(len(rendered.samples.t) / max(n_rays, 1)),
            "rays": torch.tensor(float(n_rays)),
        }

    def watched(self, opacity_fn: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """An opacity of the field, whose values are looked at."""
        return self.watch.opacities(opacity_fn, self.global_step)

    def jitter(self, n_rays: int) -> Tensor:
        """Shifts (N,) of the rays' samples: this rank's share of what step alone decides, as its rays are."""
        generator = torch.Generator().manual_seed(self.global_step)
        return self._own(torch.rand(n_rays * self.trainer.world_size, generator=generator))

    def turned(self, rays: Rays) -> Rays:
        """The same rays, which the field is shown along directions nearby; see ``viewdir_noise``."""
        angle = self.viewdir_noise * self.view_spacing
        if angle == 0.0:
            return rays
        generator = torch.Generator().manual_seed(_NOISE_SEEDS + self.global_step)
        noise = self._own(torch.randn(len(rays.viewdirs) * self.trainer.world_size, 3, generator=generator))
        return rays._replace(viewdirs=turned_directions(rays.viewdirs, noise, angle))

    def begun(self, rays: Rays) -> Rays:
        """The same rays, which may begin later; see ``near_annealing``."""
        if self.near_annealing == 0.0 or self.init_from is not None or self.data.scene.ndc:
            return rays
        steps = self.near_annealing * self.trainer.estimated_stepping_batches
        if self.global_step >= steps:
            return rays
        return begun_later(rays, self.field.aabb.mean(0), _LATEST * (1 - self.global_step / steps))

    def _own(self, everyone: Tensor) -> Tensor:
        """Of the values of all ranks' rays, those of this rank."""
        return sent(everyone[self.global_rank :: self.trainer.world_size].contiguous(), self.device)

    def training_step(self, batch: RayBatch) -> dict[str, Tensor]:
        """Refresh the occupancy when due, then one step."""
        with self.stage("occupancy"):
            self.sampler.update(self.global_step, self.watched(self.field.peak_alpha))
        out = self.step(batch)
        self.log_dict({f"train/{key}": value.detach() for key, value in out.items()}, prog_bar=False)
        self.log("psnr", out["psnr"], prog_bar=True, logger=False)
        return out


def opacities(scene: Scene) -> Tensor | None:
    """(V, H, W) uint8 opacity of the pixels of a scene, where known."""
    return scene.images[..., 3] if scene.has_alpha else None
