"""A finished field that is asked for pictures."""

import torch
from torch import Tensor

from nerfcomp.modules.base import FieldModule
from nerfcomp.pipeline import TrainedField
from nerfcomp.rays import RayBatch, Rays
from nerfcomp.rendering import Rendered


class TeacherModule(FieldModule):
    """Renders what the datamodule asks for, with the field that the datamodule names; nothing is trained."""

    def __init__(self) -> None:
        super().__init__(torch.optim.SGD)
        self._trained: TrainedField | None = None

    def setup(self, stage: str) -> None:
        """Take the teacher from the datamodule, so that it moves to the device with this module."""
        trained: TrainedField = self.trainer.datamodule.trained  # type: ignore[attr-defined]
        self.field, self.sampler = trained.field.requires_grad_(False), trained.sampler
        self._trained = trained

    @property
    def trained(self) -> TrainedField:
        """The teacher."""
        assert self._trained is not None, "set up by the trainer"
        return self._trained

    def render_image(self, rays: Rays, background: Tensor) -> Rendered:
        """Render rays without gradients; background (3,) or (N, 3)."""
        return self.trained.render(rays, background)

    def predict_step(self, batch: RayBatch) -> Rendered:
        """Render one view."""
        return self.render_image(batch.rays, batch.background)
