"""Posed image files: what the readers of all formats on disk share.

A child of :class:`PosedImageReader` lists files, poses, splits and bounds; reading, checking and video paths are here.
"""

import logging
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from nerfcomp.errors import SceneError
from nerfcomp.geometry.cameras import Camera, select_views
from nerfcomp.geometry.checks import check_scene_numbers
from nerfcomp.readers.images import find_image, load_images
from nerfcomp.readers.scene import Scene, SceneReader, Split, through_corners
from nerfcomp.readers.video_paths import PathKind, along, film_poses

logger = logging.getLogger(__name__)

_HOLD, _MOST_HELD = 8, 8  # one training view in eight validates by default, eight at most


class Views(NamedTuple):
    """All views of a scene on disk, before any image is decoded.

    Attributes:
        files: V image files.
        camera: V views at the size of the files.
        splits: For every split the indices of its views.
        held: Training views that were taken for validation.
        near: See :class:`Scene`.
        far: See :class:`Scene`.
        aabb: See :class:`Scene`.
        ndc: See :class:`Scene`.
        cascades: See :class:`Scene`.
        downscale: Area-average blocks of this many pixels squared.
        masks: V files that show what is opaque; what images say of it themselves when absent.
        to_world: See :class:`Scene`.
    """

    files: tuple[Path, ...]
    camera: Camera
    splits: dict[Split, list[int]]
    near: float
    far: float
    aabb: Tensor
    ndc: bool = False
    cascades: int = 1
    downscale: int = 1
    held: int = 0
    masks: tuple[Path, ...] | None = None
    to_world: Tensor | None = None


class PosedImageReader(SceneReader):
    """A reader of image files with known poses; a child only says where they are.

    Args:
        root: Where the scene is.
        pixel_centers: Send rays through the centres of pixels; otherwise through their corners (`through_corners`).
    """

    def __init__(self, root: str | Path, pixel_centers: bool = True) -> None:
        self.root = Path(root)
        self.pixel_centers = pixel_centers

    @abstractmethod
    def views(self) -> Views:
        """List the views of all splits.

        Returns:
            Cameras, files and bounds.

        Raises:
            SceneError: If the description of the scene is missing, damaged or contradictory.
        """

    def read(self, split: Split) -> Scene:
        """Read one split; see :meth:`SceneReader.read`."""
        views = self.views()
        if split not in views.splits:
            raise ValueError(f"there is no split {split!r}; choose one of {', '.join(views.splits)}")
        chosen = views.splits[split]
        if not chosen:
            raise SceneError(f"{self.root} has no views for split {split!r}. {self.empty_hint(split)}")
        if split == "train":
            _report_held(self.root, views)
        files = [find_image(views.files[view]) for view in chosen]
        masks = None if views.masks is None else [views.masks[view] for view in chosen]
        pixels = load_images(files, views.camera.height, views.camera.width, views.downscale, masks)
        camera = self._sized(select_views(views.camera, chosen), views.downscale)
        try:
            check_scene_numbers(camera, views.near, views.far, views.aabb)
        except ValueError as error:
            raise SceneError(f"{self.root} cannot be used: {error}") from error
        names = tuple(file.name for file in files)
        return Scene(
            pixels.rgba, camera, views.near, views.far, views.aabb, views.ndc, pixels.has_alpha, names, split,
            views.cascades, self.pixel_centers, views.to_world,
        )  # fmt: skip

    def has(self, split: Split) -> bool:
        """Whether a split has any views; see :meth:`SceneReader.has`."""
        return bool(self.views().splits[split])

    def path(self, kind: PathKind, n_frames: int) -> Camera:
        """Move around or past the views; see :meth:`SceneReader.path`."""
        views = self.views()
        camera = self._sized(views.camera, views.downscale)
        return along(camera, film_poses(camera.c2w, views.aabb.mean(0), kind, n_frames))

    def _sized(self, camera: Camera, downscale: int) -> Camera:
        """Cameras of the files at the size of the images, with the rays that were asked for."""
        camera = downscaled(camera, downscale)
        return camera if self.pixel_centers else through_corners(camera)

    def empty_hint(self, split: Split) -> str:
        """Say what to do when a split is empty."""
        return f"Add views for {split!r} or choose another split."


def current(value: int, former: int | None) -> int:
    """Value of an argument that had another name before, which is still taken."""
    return value if former is None else former


def downscaled(camera: Camera, factor: int) -> Camera:
    """Match the camera to images whose ``factor x factor`` blocks were averaged and whose remainder was cut off."""
    return camera._replace(
        intrinsics=camera.intrinsics / factor, height=camera.height // factor, width=camera.width // factor
    )


def spread(indices: list[int], limit: int) -> list[int]:
    """Take at most ``limit`` of the indices, evenly spread, beginning with the first."""
    count = min(limit, len(indices))
    return [indices[index * len(indices) // count] for index in range(count)]


def make_splits(
    train: list[int], val: list[int], test: list[int], val_hold: int | None = None
) -> tuple[dict[Split, list[int]], int]:
    """Decide which views validate: never a test view.

    Args:
        train: Indices of the training views.
        val: Indices of the scene's own validation views, perhaps none.
        test: Indices of the test views.
        val_hold: Take every n-th training view for validation instead, beginning with the first; 0 takes none. By
            default a scene without validation views of its own gives one in eight, eight at most.

    Returns:
        Indices per split, and how many training views were taken.

    Example:
        >>> make_splits([1, 2, 3, 4], [], [0], val_hold=3)
        ({'train': [2, 3], 'val': [1, 4], 'test': [0]}, 2)
    """
    held = train[::val_hold] if val_hold else []
    if val_hold is None and not val:
        held = spread(train, min(len(train) // _HOLD, _MOST_HELD))
    return {"train": [view for view in train if view not in held], "val": held or val, "test": test}, len(held)


def _report_held(root: Path, views: Views) -> None:
    """Say what validation shows."""
    train, val = len(views.splits["train"]), len(views.splits["val"])
    if views.held:
        logger.info(
            "%s: %d of %d training views are held back for validation. val_hold=0 trains on all of them.",
            *(root, views.held, views.held + train),
        )
    elif not val:
        logger.info("%s: no view validates; training sees all %d. val_hold=n holds every n-th back.", root, train)


def join_cameras(cameras: Sequence[Camera]) -> Camera:
    """Put the views of several cameras of one image size behind each other."""
    c2w, intrinsics, distortion = (torch.cat(parts) for parts in zip(*(camera[:3] for camera in cameras)))
    return cameras[0]._replace(c2w=c2w, intrinsics=intrinsics, distortion=distortion)
