"""What callbacks ask of a module that draws pictures: its model, drawn as an evaluation of its checkpoint would."""

from contextlib import AbstractContextManager
from typing import Any, Protocol, cast

from lightning import LightningModule
from torch import Tensor

from nerfcomp.geometry.cameras import Camera
from nerfcomp.geometry.rays import RayBatch


class View(Protocol):
    """Rendered rays: rgb (N, 3) in [0, 1], depth (N,) along the rays, opacity (N,) in [0, 1]."""

    @property
    def rgb(self) -> Tensor:
        """(N, 3)."""

    @property
    def depth(self) -> Tensor:
        """(N,)."""

    @property
    def opacity(self) -> Tensor:
        """(N,)."""


class Drawable(Protocol):
    """A model of a scene, such as a `nerfcomp.artifacts.artifact.SceneArtifact`."""

    def evaluating(self) -> AbstractContextManager[Any]:
        """Everything as in an evaluation, until the context ends."""

    def draw(self, camera: Camera, background: Tensor | None = None) -> View:
        """Draw the one view of ``camera``."""

    def draw_batch(self, batch: RayBatch) -> View:
        """Draw the whole view that a datamodule hands out."""


def drawable(module: LightningModule) -> Drawable | None:
    """The model that a module trains, if it draws pictures."""
    trained = getattr(module, "trained", None)
    return cast(Drawable, trained) if hasattr(trained, "draw") else None
