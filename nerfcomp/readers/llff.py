"""Captures in the format of LLFF: ``poses_bounds.npy`` and image folders.

A row of that file is a 3x5 matrix ``[R | t | (height, width, focal)]`` in row-major order, with camera axes (down,
right, backwards), and the nearest and farthest scene depth seen by the view.
"""

import logging
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nerfcomp.descriptions import require_between
from nerfcomp.errors import SceneError
from nerfcomp.geometry.cameras import Camera
from nerfcomp.geometry.paths import spiral_path
from nerfcomp.geometry.rays import camera_rays
from nerfcomp.readers.alignment import REGION, align_upright, average_pose, check_pose, relative_to
from nerfcomp.readers.images import SUFFIXES, read_header
from nerfcomp.readers.posed import PosedImageReader, Views, current, make_splits
from nerfcomp.readers.scene import Split, cube, march_bounds
from nerfcomp.readers.video_paths import PathKind, along, follow

logger = logging.getLogger(__name__)

_NEAR_MARGIN = 0.75  # the nearest depth lands at 1 / 0.75, so that the plane z = -1 stays in front of everything
_WIDEST_NDC = 8.0  # half side beyond which a scene is not forward-facing
_MAX_CASCADES = 6


class _Capture(NamedTuple):
    """Content of ``poses_bounds.npy`` in the conventions of this package, all float64."""

    c2w: Tensor  # (V, 3, 4)
    size_focal: Tensor  # (V, 3) height, width, focal length in pixels
    depths: Tensor  # (V, 2) nearest and farthest


class LLFFReader(PosedImageReader):
    """Read ``poses_bounds.npy`` and ``images_{downscale}``.

    Forward-facing scenes (``ndc``) are scaled so that the nearest depth is 4/3, recentred on the mean pose and marched
    in normalised device coordinates, between fractions 0 and 1 of every ray; the cube is centred at the origin and
    just large enough for all rays of all views and of the spiral path.

    Other scenes are turned upright, centred on the point that the cameras look at, and scaled to a median camera
    distance of 4; the cube reaches the farthest depth, in cascades of which the finest has a half side of 1.5.

    Every ``test_every``-th view, beginning with the first, is a test view. Some training views validate and are not
    trained on.

    Args:
        root: Folder with ``poses_bounds.npy``.
        downscale: Read ``images_{downscale}`` (``images`` for 1). Without that folder ``images`` is area-averaged.
        test_every: Every n-th view is held out for test; 0 for none.
        ndc: The scene is forward-facing.
        val_hold: Hold every n-th training view back for validation; 0 for none. By default one in eight, eight at
            most.
        pixel_centers: Send rays through the centres of pixels. Turn off for fields that nerf-pytorch or nerf_pl made or
            shall read: theirs go through the corners.
        factor: Former name of ``downscale``.
        hold: Former name of ``test_every``.

    Raises:
        ValueError: If a number is out of range.
    """

    def __init__(
        self,
        root: str | Path,
        downscale: int = 8,
        test_every: int = 8,
        ndc: bool = True,
        val_hold: int | None = None,
        pixel_centers: bool = True,
        factor: int | None = None,
        hold: int | None = None,
    ) -> None:
        super().__init__(root, pixel_centers)
        self.downscale, self.test_every = current(downscale, factor), current(test_every, hold)
        require_between(1, downscale=self.downscale)
        require_between(0, test_every=self.test_every, val_hold=val_hold)
        self.ndc = ndc
        self.val_hold = val_hold

    def views(self) -> Views:
        """List the views of all splits; see :meth:`PosedImageReader.views`."""
        capture = self._capture()
        files, downscale = self._images(len(capture.c2w))
        camera = self._camera(capture, files[0], downscale)
        test = list(range(0, len(files), self.test_every)) if self.test_every else []
        train = [view for view in range(len(files)) if view not in test]
        splits, held = make_splits(train, [], test, self.val_hold)
        if self.ndc:
            c2w, depths = _forward(capture)
            camera = camera._replace(c2w=c2w)
            aabb = self._ndc_cube(camera, depths)
            return Views(files, camera, splits, 0.0, 1.0, aabb, True, downscale=downscale, held=held)
        aligned = align_upright(capture.c2w, str(self.root))
        camera = camera._replace(c2w=aligned.c2w.float())
        depths, distance = capture.depths * aligned.scale, aligned.c2w[:, :, 3].norm(dim=-1)
        doublings = math.ceil(math.log2(float((distance + depths[:, 1]).max()) / REGION))
        cascades = min(max(doublings + 1, 1), _MAX_CASCADES)
        aabb = cube((0.0, 0.0, 0.0), REGION * 2 ** (cascades - 1))
        near, far = 0.9 * float(depths.min()), march_bounds(camera, aabb)[1]
        return Views(files, camera, splits, near, far, aabb, cascades=cascades, downscale=downscale, held=held)

    def path(self, kind: PathKind, n_frames: int) -> Camera:
        """Swing around the mean pose, with the spread of 90 % of the views, or follow the views (``along``).

        Without ``ndc`` it is as with other captures.
        """
        if not self.ndc:
            return super().path(kind, n_frames)
        if kind == "turntable":
            raise ValueError(f"{self.root} is forward-facing: it has no turntable. Choose 'spiral' or 'auto'.")
        views = self.views()
        camera = self._sized(views.camera, views.downscale)
        if kind == "along":
            return along(camera, follow(camera.c2w, n_frames))
        return along(camera, _spiral(_forward(self._capture())[1], camera.c2w, n_frames))

    def empty_hint(self, split: Split) -> str:
        """Say what to do when a split is empty."""
        return f"test_every={self.test_every} and val_hold={self.val_hold} say which views belong to which split."

    def _capture(self) -> _Capture:
        """Read and check ``poses_bounds.npy``."""
        source = self.root / "poses_bounds.npy"
        try:
            stored = np.load(source, mmap_mode="r", allow_pickle=False)  # mapping checks the shape against the size
        except FileNotFoundError as error:
            raise SceneError(f"no file {source}. Check the scene's folder and format.") from error
        except Exception as error:  # damaged headers end in tokenize.TokenError, BadZipFile, OverflowError...
            raise SceneError(f"{source} is not a readable .npy file ({error}). Restore the file.") from error
        if not isinstance(stored, np.ndarray) or stored.dtype.kind != "f":
            raise SceneError(f"{source} is no .npy file of floats. Restore the file.")
        if stored.ndim != 2 or stored.shape[1] != 17 or not len(stored):
            raise SceneError(f"{source} has shape {stored.shape}; it must be (views, 17).")
        table = torch.from_numpy(stored.astype(np.float64))
        if not table.isfinite().all():
            raise SceneError(f"{source} contains NaN or infinity. Run the pose estimation again.")
        matrix, depths = table[:, :15].reshape(-1, 3, 5), table[:, 15:]
        if not (0 < depths[:, 0]).all() or not (depths[:, 0] < depths[:, 1]).all():
            raise SceneError(
                f"{source}: depths must satisfy 0 < near < far in every row. Run the pose estimation again."
            )
        if not (matrix[:, :, 4] > 0).all():
            raise SceneError(f"{source}: height, width and focal length must be above 0 in every row.")
        opengl = torch.stack([matrix[:, :, 1], -matrix[:, :, 0], matrix[:, :, 2], matrix[:, :, 3]], -1)
        c2w = torch.stack([check_pose(pose, f"{source}, row {row}") for row, pose in enumerate(opengl)])
        return _Capture(c2w, matrix[:, :, 4], depths)

    def _images(self, count: int) -> tuple[tuple[Path, ...], int]:
        """List the image files, and by how much they must be scaled down."""
        folder = self.root / ("images" if self.downscale == 1 else f"images_{self.downscale}")
        downscale = 1
        if not folder.is_dir() and self.downscale > 1:
            logger.info("%s does not exist; %s is scaled down instead.", folder, self.root / "images")
            folder, downscale = self.root / "images", self.downscale
        if not folder.is_dir():
            raise SceneError(f"no folder {folder}. Check the scene's folder, or choose another downscale.")
        files = tuple(sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES and file.is_file()))
        if len(files) != count:
            raise SceneError(
                f"{folder} holds {len(files)} images, but {self.root / 'poses_bounds.npy'} describes {count} views. "
                "Restore the missing images or estimate the poses again."
            )
        return files, downscale

    def _camera(self, capture: _Capture, first: Path, downscale: int) -> Camera:
        """Scale the intrinsics from the size that the poses were estimated at to that of the files."""
        height, width, _ = read_header(first)[:3]
        ratio = self.downscale // downscale
        full_height, full_width, focal = capture.size_focal.unbind(-1)
        if ((full_height - ratio * height).abs() > ratio).any() or ((full_width - ratio * width).abs() > ratio).any():
            raise SceneError(
                f"{first} has {width}x{height} pixels, but {self.root / 'poses_bounds.npy'} was made for "
                f"{full_width[0]:g}x{full_height[0]:g}, scaled down by {ratio}. Scale the original images again."
            )
        if self.ndc and (focal.max() - focal.min()) > 1e-3 * focal.mean():
            raise SceneError(f"{self.root}: NDC needs one focal length, but the views differ. Pass ndc=False.")
        middle = (torch.full_like(focal, width / 2), torch.full_like(focal, height / 2))
        intrinsics = torch.stack([focal * width / full_width, focal * height / full_height, *middle], -1).float()
        return Camera(capture.c2w.float(), intrinsics, torch.zeros_like(intrinsics), height, width)

    def _ndc_cube(self, camera: Camera, depths: Tensor) -> Tensor:
        """Find the cube around the NDC segments of all image corners."""
        spiral = _spiral(depths, camera.c2w, 60)
        everywhere = along(camera, torch.cat([camera.c2w, spiral]))
        view = torch.arange(len(everywhere.c2w)).repeat_interleave(4)
        x = torch.tensor([-0.5, camera.width - 0.5]).repeat(2 * len(everywhere.c2w))
        y = torch.tensor([-0.5, -0.5, camera.height - 0.5, camera.height - 0.5]).repeat(len(everywhere.c2w))
        rays = camera_rays(everywhere, view, x, y, 0.0, 1.0, ndc=True)
        ends = torch.stack([rays.origins, rays.origins + rays.far * rays.directions])
        half_side = float(ends.abs().max()) * 1.001
        if not (rays.far > 0).all() or half_side > _WIDEST_NDC:
            raise SceneError(f"{self.root} is not forward-facing: views look aside too far for NDC. Pass ndc=False.")
        return cube((0.0, 0.0, 0.0), half_side)


def _forward(capture: _Capture) -> tuple[Tensor, Tensor]:
    """Scale and recentre a forward-facing capture: poses (V, 3, 4) float32 and depths (V, 2)."""
    scale = 1 / (_NEAR_MARGIN * capture.depths.min())
    c2w = torch.cat([capture.c2w[:, :, :3], capture.c2w[:, :, 3:] * scale], -1)
    return relative_to(c2w, average_pose(c2w)).float(), capture.depths * scale


def _spiral(depths: Tensor, c2w: Tensor, n_frames: int) -> Tensor:
    """Swing around recentred poses as LLFF does, focused between nearest and five times farthest depth."""
    close, far = 0.9 * float(depths.min()), 5 * float(depths.max())
    focus = 1 / (0.25 / close + 0.75 / far)
    x, y, z = torch.quantile(c2w[:, :, 3].abs(), 0.9, dim=0).tolist()
    return spiral_path(torch.eye(3, 4), (x, y, z), focus, n_frames)
