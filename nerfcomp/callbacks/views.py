"""What callbacks ask of a module that draws pictures."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, cast

import torch
from lightning import LightningModule, Trainer
from torch import Tensor

from nerfcomp.rays import Camera, Rays, image_rays
from nerfcomp.readers.scene import Scene


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


class Renderer(Protocol):
    """A module that renders rays."""

    def render_image(self, rays: Rays, background: Tensor) -> View:
        """Render N rays over a background of (N, 3) or (3,)."""


class Drawer(Protocol):
    """A module that draws whole views."""

    def draw_camera(self, camera: Camera) -> View:
        """Draw the one view of ``camera``."""


def can_render(module: LightningModule) -> bool:
    """Whether a module renders rays or whole views."""
    return hasattr(module, "render_image") or hasattr(module, "draw_camera")


def render(trainer: Trainer, module: LightningModule, rays: Rays, background: Tensor) -> View:
    """Render in the run's precision, on the module's device."""
    rays = Rays(*(part.to(module.device) for part in rays))
    with trainer.precision_plugin.forward_context():
        return cast(Renderer, module).render_image(rays, background.to(module.device))


def render_camera(trainer: Trainer, module: LightningModule, camera: Camera, scene: Scene, background: Tensor) -> View:
    """Render one view; a module that draws whole pictures (``draw_camera``) sees the camera, others its rays."""
    if hasattr(module, "draw_camera"):
        with trainer.precision_plugin.forward_context():
            return cast(Drawer, module).draw_camera(camera)
    return render(trainer, module, image_rays(camera, 0, scene.near, scene.far, scene.ndc), background)


@contextmanager
def evaluating(module: LightningModule) -> Iterator[None]:
    """Switch a module to evaluation without gradients, and back."""
    training = module.training
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        module.train(training)
