"""Rendering whole views and comparing them with the truth."""

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from nerfcomp.artifacts.artifact import Artifact, SceneArtifact
from nerfcomp.artifacts.convention import as_trained, views_into_box
from nerfcomp.devices import finish
from nerfcomp.evaluation.report import ViewResult, mean_result
from nerfcomp.files import atomic_write
from nerfcomp.geometry.cameras import Camera, select_views
from nerfcomp.geometry.rays import RayBatch, image_rays
from nerfcomp.readers.scene import Scene, SceneReader, Split
from nerfcomp.readers.video_paths import PathKind
from nerfcomp.rendering import Rendered
from nerfcomp.rendering.metrics import image_quality, psnr

logger = logging.getLogger(__name__)
_HALF = 127  # of the alpha of a pixel
_NOTHING = 1e-3  # mean opacity below which pictures are empty


class RenderedView(NamedTuple):
    """One rendered view and what it is worth."""

    rendered: Rendered
    result: ViewResult


def view_batches(scene: Scene, background: Tensor) -> Iterator[RayBatch]:
    """Whole views of a scene, composited over ``background`` (3,)."""
    camera = scene.camera
    for view, name in enumerate(scene.names):
        rgba = scene.images[view].reshape(-1, 4).float() / 255
        rgb = torch.lerp(background.expand(len(rgba), 3), rgba[:, :3], rgba[:, 3:])
        rays = image_rays(camera, view, scene.near, scene.far, scene.ndc)
        only = select_views(camera, [view])
        yield RayBatch(rays, rgb, background.expand(len(rgba), 3), camera.height, camera.width, name, only)


def render_view(trained: SceneArtifact, batch: RayBatch, counted: Tensor | None = None) -> RenderedView:
    """Render one whole view and measure it.

    Args:
        trained: The field.
        batch: Rays and true colours of a whole image.
        counted: (N,) bool, pixels whose PSNR is measured; all when absent.

    Returns:
        The rendering, and PSNR, SSIM and seconds.
    """
    start = time.perf_counter()
    rendered = trained.draw_batch(batch)
    finish(rendered.rgb.device)
    seconds = time.perf_counter() - start
    shape = (batch.height, batch.width, 3)
    quality = image_quality(rendered.rgb.float().reshape(shape), batch.rgb.to(rendered.rgb.device).reshape(shape))
    found = quality.psnr
    if counted is not None and bool(counted.any()):
        found = psnr(rendered.rgb.float().cpu()[counted], batch.rgb.cpu()[counted]).item()
    return RenderedView(rendered, ViewResult(batch.name, found, quality.ssim, seconds))


def evaluate_views(
    trained: SceneArtifact,
    scene: Scene,
    label: str = "render",
    pictures: Path | None = None,
    masked: bool = False,
) -> list[ViewResult]:
    """Render and measure every view of a scene, along the rays and between the distances of the field's training.

    The log warns when no view shows anything.

    Args:
        trained: The field.
        scene: Views with truth.
        label: Text of the progress bar.
        pictures: Folder that gets the renderings as 000.png, 001.png, ...; none are written when absent.
        masked: Measure PSNR where the images are more opaque than not.

    Returns:
        One result per view, in the scene's order.

    Raises:
        SceneError: See `as_trained`.
    """
    background = torch.tensor(trained.scene.background)
    views = view_batches(as_trained(scene, trained.scene), background)
    batches = tqdm(views, label, len(scene.names), unit="view", leave=False)
    results: list[ViewResult] = []
    opacity = 0.0
    with trained.evaluating():
        for number, batch in enumerate(batches):
            counted = scene.images[number, ..., 3].flatten() > _HALF if masked else None
            rendered, result = render_view(trained, batch, counted)
            results.append(result)
            opacity += float(rendered.opacity.mean()) / len(scene.names)
            if pictures is not None:
                write_picture(pictures / f"{number:03d}.png", rendered.rgb.view(batch.height, batch.width, 3))
    if opacity < _NOTHING:
        logger.warning(
            "Nothing was hit: between %g and %g, the mean opacity of %d views is %.1e, so that PSNR compares empty "
            "pictures. Are the field's distances and box those of this scene?",
            *(trained.scene.near, trained.scene.far, len(scene.names), opacity),
        )
    return results


def warn_of_another_scene(trained: SceneArtifact, scene: Scene, psnr: float) -> None:
    """Say in the log when views are plainly not those of the scene that a field was trained on.

    Args:
        trained: The field.
        scene: The views it was measured on.
        psnr: Mean over these views, in dB.
    """
    flat = flat_psnr(scene, torch.tensor(trained.scene.background))
    seeing, count = views_into_box(scene, trained.scene), len(scene.names)
    if 2 * seeing < count or psnr < flat:
        logger.warning(
            "Is this the scene of the training? %d of %d cameras look into the field's box, and the PSNR of %.2f dB "
            "compares with %.2f dB of pictures of one colour. Check the reader, its root and its options.",
            *(seeing, count, psnr, flat),
        )


def flat_psnr(scene: Scene, background: Tensor) -> float:
    """Mean PSNR in dB of views beside pictures of their mean colour; infinite where one is of one colour."""
    means = []
    for batch in view_batches(scene, background):
        error = (batch.rgb - batch.rgb.mean(0)).square().mean()
        means.append(float(-10 * error.log10()))
    return sum(means) / len(means)


def mean_psnr(scene: Scene) -> Callable[[Artifact], float]:
    """A function that measures the mean PSNR in dB of a model on all views of a scene."""

    def measure(trained: Artifact) -> float:
        assert isinstance(trained, SceneArtifact), "views show scenes"
        return mean_result(evaluate_views(trained, scene)).psnr

    return measure


def some_views(scene: Scene, count: int) -> Scene:
    """Evenly spread views of a scene, ``count`` at most."""
    kept = sorted({index * len(scene.names) // count for index in range(count)})
    camera = select_views(scene.camera, kept)
    return scene._replace(images=scene.images[kept], camera=camera, names=tuple(scene.names[view] for view in kept))


def thinned(scene: Scene, stride: int) -> Scene:
    """Keep every ``stride``-th row and column of all views: the same pixels, seen along the same rays, only fewer.

    Args:
        scene: Views.
        stride: Rows and columns from one kept to the next, at least 1.

    Raises:
        ValueError: No pixel is left.
    """
    camera, first = scene.camera, stride // 2
    if not 1 <= stride < 2 * min(camera.height, camera.width):
        raise ValueError(f"A stride of {stride} leaves nothing of {camera.width}x{camera.height} pixels.")
    images = scene.images[:, first::stride, first::stride].contiguous()
    focal, center = camera.intrinsics[:, :2] / stride, camera.intrinsics[:, 2:]
    intrinsics = torch.cat([focal, 0.5 - (first + 0.5 - center) / stride], 1)
    fewer = camera._replace(intrinsics=intrinsics, height=images.shape[1], width=images.shape[2])
    return scene._replace(images=images, camera=fewer)


class ThinnedReader(SceneReader):
    """Another reader whose views, except those to train on, keep every ``stride``-th row and column only.

    Args:
        reader: The other one.
        stride: See `thinned`.
    """

    def __init__(self, reader: SceneReader, stride: int) -> None:
        self.reader = reader
        self.stride = stride
        self.pixel_centers = reader.pixel_centers

    def read(self, split: Split) -> Scene:
        """Read one split; see :meth:`SceneReader.read`."""
        scene = self.reader.read(split)
        return scene if split == "train" else thinned(scene, self.stride)

    def has(self, split: Split) -> bool:
        """Whether a split has any views."""
        return self.reader.has(split)

    def path(self, kind: PathKind, n_frames: int) -> Camera:
        """Cameras of a video, whole; see :meth:`SceneReader.path`."""
        return self.reader.path(kind, n_frames)


def write_picture(path: Path, rgb: Tensor) -> None:
    """Write colours (H, W, 3), clamped to [0, 1] and rounded to 8 bits, as a PNG."""
    rounded = (torch.nan_to_num(rgb).float().clamp(0, 1) * 255).round().byte().cpu().numpy()
    with atomic_write(path) as temporary:
        Image.fromarray(rounded).save(temporary)
