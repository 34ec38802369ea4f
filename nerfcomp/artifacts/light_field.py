"""Light fields: networks that draw whole pictures from poses, without rays to march."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from nerfcomp.artifacts.artifact import Multiplications, SceneArtifact
from nerfcomp.artifacts.coded_tensors import checked_qp
from nerfcomp.artifacts.scene_info import SceneInfo
from nerfcomp.compression import measure_sensitivity, plain_parameters
from nerfcomp.descriptions import Description
from nerfcomp.fields import Field, LightField, build_field
from nerfcomp.geometry.cameras import Camera, camera_on, select_views
from nerfcomp.geometry.rays import RayBatch
from nerfcomp.rendering import Rendered
from nerfcomp.rendering.images import checked

_VIEWS = 8  # for sensitivities


@dataclass(frozen=True, kw_only=True)
class LightFieldArtifact(SceneArtifact):
    """A light field and its scene."""

    pixels_are_rays: ClassVar[bool] = False
    kind: ClassVar[str] = "light field"
    field_classes: ClassVar[tuple[type[Field], ...]] = (LightField,)

    field: LightField

    @classmethod
    def rebuild(cls, description: Mapping[str, Any]) -> Self:
        """Build an untrained twin of what `describe` described; see `Artifact.rebuild`."""
        scene = SceneInfo.from_json(description["scene"])
        field = build_field(Description.from_json(description["field"]), cls.field_classes)
        assert isinstance(field, LightField)
        field.set_aabb(torch.tensor(scene.aabb))
        qp, rounded = checked_qp(description.get("qp")), description.get("rounded") is True
        return cls(field=field.eval(), scene=scene, qp=qp, rounded=rounded)

    @torch.no_grad()
    def draw(self, camera: Camera, background: Tensor | None = None) -> Rendered:
        """Draw one view in evaluation mode; see `SceneArtifact.draw`.

        A light field has learnt its background with the pictures, and knows neither depth (0) nor opacity (1).
        """
        training = self.field.training
        rgb = self.field.eval().draw(camera_on(camera, self.device), self.scene.bounds)[0].flatten(0, 1).float()
        self.field.train(training)
        return checked(Rendered(rgb, rgb.new_zeros(len(rgb)), rgb.new_ones(len(rgb))))

    def draw_batch(self, batch: RayBatch) -> Rendered:
        """Draw the view that a batch shows."""
        assert batch.camera is not None, "whole views come with their cameras"
        return self.draw(batch.camera)

    def for_coding(self) -> Self:
        """The same pictures without batch normalisation, which the layers before it take over."""
        return (
            self.replace(field=self.without_hooks().field.folded()) if self.field.batch_norm else super().for_coding()
        )

    def for_drawing(self) -> Self:
        """The same pictures by the fewest layers; see `LightField.merged`."""
        return self.replace(field=self.without_hooks().field.merged())

    def multiplications(self) -> Multiplications:
        """What the convolutions of one picture multiply; normalisation and encoding are left out."""
        positions: dict[int, int] = {}

        def note(layer: nn.Module, inputs: Any, output: Tensor) -> None:
            transposed = isinstance(layer, nn.ConvTranspose2d)
            positions[id(layer)] = (inputs[0] if transposed else output)[0, ..., 0].numel()

        layers = [layer for layer in self.field.modules() if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)]
        handles = [layer.register_forward_hook(note) for layer in layers]
        self.draw(select_views(self.scene.camera, [0]))
        for handle in handles:
            handle.remove()
        counts = [(layer.weight.numel(), int(layer.weight.count_nonzero()), positions[id(layer)]) for layer in layers]
        dense, nonzero = (sum(count[which] * count[2] for count in counts) for which in (0, 1))
        return Multiplications(dense, nonzero)

    def rehearse(self, batches: int, seed: int = 0) -> None:
        """Draw random known poses; see `Artifact.rehearse`."""
        generator, camera = torch.Generator().manual_seed(seed), self.scene.camera
        for view in torch.randint(len(camera.c2w), (batches,), generator=generator).tolist():
            self.draw(select_views(camera, [view]))

    def sensitivity(self, seed: int = 0, views: int = _VIEWS) -> dict[str, Tensor]:
        """Measure how much each weight matters to whole views; see `Artifact.sensitivity`.

        Args:
            seed: Of the choice of views and of the estimator.
            views: Number of random views.

        Returns:
            Sensitivities by parameter name.
        """
        self.scene.warn_of_one_pose()
        generator = torch.Generator().manual_seed(seed)
        camera, bounds = self.scene.camera, self.scene.bounds

        def picture() -> Tensor:
            view = int(torch.randint(len(camera.c2w), (1,), generator=generator))
            return self.field.draw(camera_on(select_views(camera, [view]), self.device), bounds)

        calls: list[Callable[[], Tensor]] = [picture] * views
        return measure_sensitivity(calls, plain_parameters(self.field), generator)
