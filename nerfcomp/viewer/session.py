"""Pictures for a browser: coarse while the camera moves, whole when it stands; the latest request wins.

Pictures are drawn in bands of rows. Between two bands it is asked whether the picture is still wanted, so that nothing
has to be interrupted.
"""

import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from nerfcomp.artifacts.artifact import SceneArtifact
from nerfcomp.callbacks.media import Picture, depth_picture, depth_range, to_map, to_picture
from nerfcomp.geometry.cameras import Camera, resized, select_views
from nerfcomp.rendering import Rendered

Channel = Literal["rgb", "depth", "normals"]

_PIXELS_PER_BAND = 32768
_COARSEST = 1 / 16  # of the size asked for
_STEADY = 0.7  # of the pixels per second known so far, in each new estimate


class Shown(NamedTuple):
    """A model that a person may look at: what it is called, itself, and the bytes of its file."""

    name: str
    trained: SceneArtifact
    size: int


class Request(NamedTuple):
    """What is asked for.

    Attributes:
        c2w: (3, 4) camera to world.
        width: Columns of the whole picture.
        height: Rows of the whole picture.
        moving: Any size will do, but soon.
        file: Which of the models.
        channel: What is shown: colour, distance or normals.
    """

    c2w: Tensor
    width: int
    height: int
    moving: bool
    file: int = 0
    channel: Channel = "rgb"


class Viewer:
    """Draws what is asked for, one picture at a time.

    Args:
        shown: At least one model; ready to be drawn.
        budget: Seconds that a picture may take while the camera moves.
    """

    def __init__(self, shown: Sequence[Shown], budget: float = 0.08) -> None:
        self.shown = list(shown)
        self.budget = budget
        self._lock = threading.Lock()
        self._rates = [0.0] * len(shown)  # pixels per second; nothing is known yet

    def draw(self, request: Request, wanted: Callable[[], bool]) -> Picture | None:
        """Draw a picture.

        Args:
            request: What of.
            wanted: Asked from time to time; the picture is given up when it says no.

        Returns:
            (H, W, 3) uint8, smaller than asked for while the camera moves; None when it was given up.
        """
        trained = self.shown[request.file].trained
        with self._lock:
            if not wanted():
                return None
            camera = self._camera(request)
            start = time.perf_counter()
            drawn = _in_bands(trained, camera, wanted)
            if drawn is None:
                return None
            if request.moving:
                self._learn(request.file, camera.height * camera.width / (time.perf_counter() - start))
        return _picture(drawn, camera, request.channel)

    def has_normals(self, file: int) -> bool:
        """Whether a model knows the normals of what it shows."""
        shown = self.shown[file].trained
        with self._lock:
            return shown.draw(self._camera(Request(shown.scene.camera.c2w[0], 4, 4, False, file))).normals is not None

    def _camera(self, request: Request) -> Camera:
        """One view of the size that there is time for; models that draw whole pictures only keep theirs."""
        trained = self.shown[request.file].trained
        known = select_views(trained.scene.camera, [0])
        home = known._replace(c2w=request.c2w[None].float(), distortion=torch.zeros_like(known.distortion))
        if not trained.pixels_are_rays:
            return home
        if not request.moving:
            return resized(home, request.width, request.height)
        pixels = self._rates[request.file] * self.budget
        scale = min(1.0, max(math.sqrt(pixels / (request.width * request.height)), _COARSEST))
        return resized(home, max(1, round(request.width * scale)), max(1, round(request.height * scale)))

    def _learn(self, file: int, rate: float) -> None:
        """Remember how fast pictures of a model are drawn."""
        known = self._rates[file]
        self._rates[file] = _STEADY * known + (1 - _STEADY) * rate if known else rate


def _in_bands(trained: SceneArtifact, camera: Camera, wanted: Callable[[], bool]) -> Rendered | None:
    """Draw a view, some rows at a time; None when it is not wanted any more."""
    if not trained.pixels_are_rays:
        return trained.draw(camera)
    rows = max(1, _PIXELS_PER_BAND // camera.width)
    bands = []
    for top in range(0, camera.height, rows):
        if not wanted():
            return None
        shift = camera.intrinsics.new_tensor([0.0, 0.0, 0.0, float(top)])
        band = camera._replace(intrinsics=camera.intrinsics - shift, height=min(rows, camera.height - top))
        bands.append(trained.draw(band))
    rgb, depth, opacity = (torch.cat(parts) for parts in zip(*(band[:3] for band in bands)))
    normals = [band.normals for band in bands if band.normals is not None]
    return Rendered(rgb, depth, opacity, normals=torch.cat(normals) if normals else None)


def _picture(drawn: Rendered, camera: Camera, channel: Channel) -> Picture:
    """Turn what was drawn into colours."""
    size = (camera.height, camera.width)
    if channel == "depth":
        depth, opacity = to_map(drawn.depth, *size), to_map(drawn.opacity, *size)
        return depth_picture(depth, opacity, depth_range(depth, opacity))
    if channel == "normals" and drawn.normals is not None:
        return to_picture(0.5 + 0.5 * drawn.normals, *size)
    return np.ascontiguousarray(to_picture(torch.nan_to_num(drawn.rgb), *size))
