"""Posed image files: what the readers of all formats on disk share.

A child of :class:`PosedImageReader` lists files, poses, splits and bounds; reading, checking and video paths are here.
"""

import logging
from abc import abstractmethod
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from nerfcomp.errors import SceneError
from nerfcomp.rays import Camera
from nerfcomp.readers.images import load_images
from nerfcomp.readers.scene import PathKind, Scene, SceneReader, Split, along, orbit

logger = logging.getLogger(__name__)


class Views(NamedTuple):
    """All views of a scene on disk, before any image is decoded.

    Attributes:
        files: V image files.
        camera: V views at the size of the files.
        splits: For every split the indices of its views.
        near: See :class:`Scene`.
        far: See :class:`Scene`.
        aabb: See :class:`Scene`.
        ndc: See :class:`Scene`.
        cascades: See :class:`Scene`.
        downscale: Area-average blocks of this many pixels squared.
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


class PosedImageReader(SceneReader):
    """A reader of image files with known poses; a child only says where they are.

    Args:
        root: Where the scene is.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

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
        if split == "val" and set(chosen) <= set(views.splits["test"]):
            logger.warning(
                "%s has no validation views of its own: validation shows %d of the %d test views, so choose no "
                "setting by it (val_hold holds out training views instead).",
                self.root,
                len(chosen),
                len(views.splits["test"]),
            )
        files = [views.files[view] for view in chosen]
        pixels = load_images(files, views.camera.height, views.camera.width, views.downscale)
        camera = downscaled(select_views(views.camera, chosen), views.downscale)
        names = tuple(file.name for file in files)
        return Scene(
            pixels.rgba, camera, views.near, views.far, views.aabb, views.ndc, pixels.has_alpha, names, split,
            views.cascades,
        )  # fmt: skip

    def path(self, kind: PathKind, n_frames: int) -> Camera:
        """Circle (``turntable``, ``auto``) or climb in two turns (``spiral``) around the middle of the box."""
        views = self.views()
        poses = orbit(views.camera, views.aabb.mean(0), kind, n_frames)
        return along(downscaled(views.camera, views.downscale), poses)

    def empty_hint(self, split: Split) -> str:
        """Say what to do when a split is empty."""
        return f"Add views for {split!r} or choose another split."


def select_views(camera: Camera, views: list[int]) -> Camera:
    """Keep some views of a camera, in the order given."""
    return camera._replace(
        c2w=camera.c2w[views], intrinsics=camera.intrinsics[views], distortion=camera.distortion[views]
    )


def downscaled(camera: Camera, factor: int) -> Camera:
    """Match the camera to images whose ``factor x factor`` blocks were averaged and whose remainder was cut off."""
    return camera._replace(
        intrinsics=camera.intrinsics / factor, height=camera.height // factor, width=camera.width // factor
    )


def spread(indices: list[int], limit: int) -> list[int]:
    """Take at most ``limit`` of the indices, evenly spread, beginning with the first."""
    count = min(limit, len(indices))
    return [indices[turn * len(indices) // count] for turn in range(count)]
