"""Radiance fields: a field that is evaluated along rays, and the sampler that knows its empty space."""

import copy
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from tqdm import tqdm

from nerfcomp.artifacts.artifact import SceneArtifact
from nerfcomp.artifacts.coarse_sensitivity import coarse_sensitivity
from nerfcomp.artifacts.coded_tensors import checked_qp
from nerfcomp.artifacts.scene_info import SceneInfo
from nerfcomp.compression import measure_sensitivity, plain_parameters
from nerfcomp.descriptions import Description
from nerfcomp.fields import Field, NeRFField, NGPField, RadianceField, build_field
from nerfcomp.geometry.cameras import Camera
from nerfcomp.geometry.rays import RayBatch, Rays, camera_rays, image_rays
from nerfcomp.kernels.march.bricks import fill_inner
from nerfcomp.rendering import Rendered, Sampler, Samples, build_sampler, describe_sampler, render, render_image
from nerfcomp.rendering.emptiness import cell_numbers, dilated
from nerfcomp.rendering.surface_samples import weighty_samples
from nerfcomp.rendering.visibility import follow_light, visible_samples

OCCUPANCY = "occupancy"
_BATCHES = 16  # of rays, for sensitivities
_LIGHTS, _LIGHTS_ALONE = 32, 256  # batches of rays that find out which cells show; where no training follows
_LEAST_WEIGHT = 1e-3  # of a sample in its pixel
_LOOK_AROUND = 0.1  # of a picture, beyond its borders
_RAYS, _RAYS_OF_DEEP = 8192, 1024  # per batch


@dataclass(frozen=True, kw_only=True)
class RadianceFieldArtifact(SceneArtifact):
    """A radiance field with its sampler.

    Attributes:
        sampler: Places samples.
    """

    kind: ClassVar[str] = "radiance field"
    field_classes: ClassVar[tuple[type[Field], ...]] = (NGPField, NeRFField)
    parts: ClassVar[tuple[str, ...]] = ("scene", "sampler")

    field: RadianceField
    sampler: Sampler

    @classmethod
    def rebuild(cls, description: Mapping[str, Any]) -> Self:
        """Build an untrained twin of what `describe` described; see `Artifact.rebuild`."""
        scene = SceneInfo.from_json(description["scene"])
        sampler_description = Description.from_json(description["sampler"])
        field = build_field(Description.from_json(description["field"]), cls.field_classes)
        assert isinstance(field, RadianceField)
        field.set_aabb(torch.tensor(scene.aabb))
        sampler = build_sampler(sampler_description, field.aabb).eval()
        qp, rounded = checked_qp(description.get("qp")), bool(description.get("rounded"))
        return cls(field=field.eval(), scene=scene, qp=qp, rounded=rounded, sampler=sampler)

    def describe(self) -> dict[str, Any]:
        """Say in JSON values how this is rebuilt, weights apart."""
        return {**super().describe(), "sampler": describe_sampler(self.sampler)._asdict()}

    def modules(self) -> dict[str, nn.Module]:
        """The field and the sampler."""
        return {"field": self.field, "sampler": self.sampler}

    def exact_tensors(self) -> dict[str, Tensor]:
        """The occupancy, unless it follows from the field, and poses."""
        occupancy = {OCCUPANCY: self.sampler.occupied} if self.sampler.carried else {}
        return occupancy | super().exact_tensors()

    def with_exact_tensors(self, tensors: Mapping[str, Tensor]) -> Self:
        """Take over the occupancy and the poses."""
        if self.sampler.carried:
            self.sampler.set_occupied(tensors[OCCUPANCY])
        return super().with_exact_tensors(tensors)

    def read_rows(self) -> dict[str, Tensor]:
        """Rows that occupied cells read, where files carry the occupancy; see `Artifact.read_rows`."""
        return self.field.read_rows(self.sampler.occupied) if self.sampler.carried else {}

    def prepare(self) -> None:
        """Let the sampler find out what is empty, where that follows from the field."""
        self.sampler.learn([self.field.coarse_peak_alpha, self.field.peak_alpha])

    def bounded_layers(self) -> list[str]:
        """All layers of a deep field, which errors as large as its weights silence."""
        weights = plain_parameters(self.field).items()
        return [name for name, value in weights if value.dim() == 2] if self.field.deep else []

    def render(self, rays: Rays, background: Tensor | None = None) -> Rendered:
        """Render rays on the field's device, without gradients.

        Args:
            rays: N rays, on any device.
            background: (3,) or (N, 3) in [0, 1]; the scene's own when absent.

        Returns:
            Colour (N, 3), depth (N,) and opacity (N,), on the field's device.
        """
        if background is None:
            background = torch.tensor(self.scene.background)
        rays = Rays(*(part.to(self.device) for part in rays))
        portion = self.sampler.portion if self.device.type == "cpu" else 0  # elsewhere a march costs less than a wait
        stop, behind = self.sampler.least_transmittance, background.to(self.device)
        place = functools.partial(self._middles, most=portion or None)
        most = self.sampler.portions
        return render_image(self.field.shade, rays, place, behind, early_stop=stop, portion=portion, portions=most)

    def trace(self, rays: Rays, background: Tensor | None = None) -> Rendered:
        """Render some rays together with what their pixels are made of, all samples at once, without gradients.

        Args:
            rays: N rays, on any device.
            background: As for `render`.

        Returns:
            As of `render`, with the samples that light reaches, and their weights.
        """
        if background is None:
            background = torch.tensor(self.scene.background)
        rays = Rays(*(part.to(self.device) for part in rays))
        with torch.no_grad():
            samples = visible_samples(self._middles(rays), rays.viewdirs, self.field.alpha)
            return render(self.field.shade, rays, samples, background.to(self.device))

    def rays(self, camera: Camera, view: int = 0) -> Rays:
        """The rays of all pixels of one view, between the distances of the scene."""
        return image_rays(camera, view, self.scene.near, self.scene.far, self.scene.ndc)

    def draw(self, camera: Camera, background: Tensor | None = None) -> Rendered:
        """Draw one view; see `SceneArtifact.draw`."""
        return self.render(self.rays(camera), background)

    def draw_batch(self, batch: RayBatch) -> Rendered:
        """Render the rays of a whole view."""
        return self.render(batch.rays, batch.background)

    def random_rays(self, count: int, generator: torch.Generator, margin: float = 0.0) -> Rays:
        """Draw rays through random pixels of the scene's known poses.

        Args:
            count: Number of rays.
            generator: Source of randomness.
            margin: Share of its width and height by which a picture is larger on every side.

        Returns:
            ``count`` rays on the field's device.
        """
        scene, camera = self.scene, self.scene.camera
        view = torch.randint(len(scene.poses), (count,), generator=generator)
        x, y = (torch.rand(count, generator=generator) * (1 + 2 * margin) - margin for _ in range(2))
        x, y = x * (scene.width - 1), y * (scene.height - 1)
        rays = camera_rays(camera, view, x, y, scene.near, scene.far, scene.ndc)
        return Rays(*(part.to(self.device) for part in rays))

    @torch.no_grad()
    def keep_lit(self, batches: int = _LIGHTS) -> None:
        """Call cells empty where nothing shows from known poses, nor beside it; see `Artifact.keep_lit`.

        Args:
            batches: Of random rays that find out what shows.
        """
        if not self._knows_unseen():
            return
        generator = torch.Generator().manual_seed(0)
        lit = torch.zeros_like(self.sampler.occupied)
        for _ in tqdm(range(batches), "unseen cells", unit="batch", leave=False, disable=None, delay=5):
            rays = self.random_rays(_RAYS, generator, _LOOK_AROUND)
            marched = self._middles(rays)
            alpha = -torch.expm1(-follow_light(marched, rays.viewdirs, self.field.alpha).depths).float()
            shown = weighty_samples(marched, alpha, _LEAST_WEIGHT)
            cells = cell_numbers(shown.x, len(lit), lit.shape[1], self.field.aabb)
            lit.view(-1)[cells[cells >= 0]] = True
        self.sampler.allow(dilated(fill_inner(lit)))

    def without_unseen(self) -> Self:
        """A copy whose cells are empty where nothing shows; see `Artifact.without_unseen`."""
        if not self._knows_unseen():
            raise ValueError(
                "drop_unseen is for fields with an occupancy that know from where they were trained; this does not."
            )
        twin = self.replace(sampler=copy.deepcopy(self.sampler))
        twin.keep_lit(_LIGHTS_ALONE)
        return twin

    def _knows_unseen(self) -> bool:
        """Whether files carry the occupancy, and poses are known beyond one to look from."""
        return self.sampler.carried and len(self.scene.poses) > 1

    def keep_empty(self) -> None:
        """Let what is empty stay so; see `Artifact.keep_empty`."""
        if self.sampler.carried:
            self.sampler.allow(self.sampler.occupied)

    def rehearse(self, batches: int, seed: int = 0) -> None:
        """Render random rays of known poses; see `Artifact.rehearse`."""
        generator = torch.Generator().manual_seed(seed)
        for _ in range(batches):
            rays = self.random_rays(_RAYS_OF_DEEP, generator)
            self.render(rays)
            samples = self._middles(rays)
            self.field.coarse_shade(samples.x, rays.viewdirs[samples.ray_indices], samples.dt)  # colours, too

    def sensitivity(
        self, seed: int = 0, batches: int = _BATCHES, rays_per_batch: int | None = None
    ) -> dict[str, Tensor]:
        """Measure how much each weight matters to rendered rays; see `Artifact.sensitivity`.

        Args:
            seed: Of the rays and the estimator.
            batches: Number of random batches.
            rays_per_batch: Rays in each; when absent, fewer for deep fields than for others.

        Returns:
            Sensitivities by parameter name.
        """
        self.scene.warn_of_one_pose()
        generator = torch.Generator().manual_seed(seed)
        count = rays_per_batch or (_RAYS_OF_DEEP if self.field.deep else _RAYS)
        background = torch.tensor(self.scene.background, device=self.device)

        def batch() -> Tensor:
            rays = self.random_rays(count, generator)
            marched = self.sampler(rays, alpha_fn=self.field.coarse_alpha)
            samples = visible_samples(marched, rays.viewdirs, self.field.alpha)
            return render(self.field.shade, rays, samples, background).rgb

        calls: list[Callable[[], Tensor]] = [batch] * batches
        found = measure_sensitivity(calls, plain_parameters(self.field), generator)
        parameters = plain_parameters(self.field).items()
        steering = {name: value for name, value in parameters if value.dim() > 1 and self.field.steers(name)}
        if steering:
            rays = self.random_rays(_RAYS_OF_DEEP, generator)
            full = self.replace(sampler=copy.deepcopy(self.sampler))  # networks with errors may fill what was empty
            full.sampler.set_occupied(torch.ones_like(self.sampler.occupied))
            found |= coarse_sensitivity(lambda: full.render(rays).rgb, steering, generator)
        return found

    def _middles(self, rays: Rays, most: int | None = None) -> Samples:
        """Samples without jitter, whether training or not, the nearest ones of a ray if there may be too many."""
        return self.sampler(rays, torch.zeros(len(rays.origins), device=self.device), self.field.coarse_alpha, most)
