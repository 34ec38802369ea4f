"""A finished model that draws pictures."""

import torch

from nerfcomp.artifacts.artifact import SceneArtifact
from nerfcomp.geometry.rays import RayBatch
from nerfcomp.modules.base import FieldModule
from nerfcomp.rendering import Rendered


class TeacherModule(FieldModule):
    """Renders what the datamodule asks for, with the field that the datamodule names; nothing is trained."""

    def __init__(self) -> None:
        super().__init__(torch.optim.SGD)
        self._trained: SceneArtifact | None = None

    def setup(self, stage: str) -> None:
        """Take the teacher from the datamodule, so that it moves to the device with this module."""
        trained: SceneArtifact = self.trainer.datamodule.trained  # type: ignore[attr-defined]
        for name, module in trained.modules().items():
            self.add_module(name, module.requires_grad_(False))
        self._trained = trained

    @property
    def trained(self) -> SceneArtifact:
        """The teacher."""
        assert self._trained is not None, "set up by the trainer"
        return self._trained

    def predict_step(self, batch: RayBatch) -> Rendered:
        """Render one view."""
        return self.trained.draw_batch(batch)
