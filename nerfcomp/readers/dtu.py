"""Scenes as NeuS takes them: DTU scans and everything packed like them."""

import logging
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nerfcomp.descriptions import require_between
from nerfcomp.errors import SceneError
from nerfcomp.geometry.cameras import Camera
from nerfcomp.readers.images import SUFFIXES, read_header
from nerfcomp.readers.posed import PosedImageReader, Views, current, downscaled, make_splits
from nerfcomp.readers.projections import decompose_projection
from nerfcomp.readers.scene import Split, cube, march_bounds
from nerfcomp.readers.video_paths import PathKind, along, film_poses

logger = logging.getLogger(__name__)

_READ = re.compile(r"(world|scale)_mat_\d+$")
_IMAGE_FOLDERS = ("image", "images")
_NUMBER = re.compile(r"(\d+)$")
_SAME = 1e-4  # relative difference between the scale matrices of two views that rounding explains


class _Matrices(NamedTuple):
    """Content of the camera file, float64."""

    projection: Tensor  # (V, 3, 4) unit sphere to pixels
    scale: Tensor  # (4, 4) unit sphere to world


class DTUReader(PosedImageReader):
    """Read ``cameras_sphere.npz``, ``image`` (or ``images``) and ``mask``.

    ``world_mat_i`` projects the world to the pixels of view i, ``scale_mat_i`` takes the unit sphere, where the object
    is, to the world. The scene stays in the frame of the unit sphere, where NeuS and its checkpoints live; meshes leave
    in the world, which for DTU has millimetres. Integer coordinates of the matrices are the centres of pixels.

    Pixels outside the masks become transparent. Every ``test_every``-th view, beginning with the first, is a test view.
    Some training views validate and are not trained on.

    Args:
        root: Folder with the camera file.
        downscale: Average blocks of this many pixels squared.
        test_every: Every n-th view is held out for test; 0 for none.
        masks: Use the masks. Without, everything in the pictures counts.
        half_side: Half side of the scene's cube, in radii of the unit sphere.
        cameras: Name of the camera file; NeuS has ``cameras_large.npz`` for a larger sphere, too.
        val_hold: Hold every n-th training view back for validation; 0 for none. By default one in eight, eight at
            most.
        pixel_centers: Send rays through the centres of pixels, otherwise through their corners.
        hold: Former name of ``test_every``.
        surroundings: How many times the cube is doubled for what lies around it, as scenes without masks need it: 4
            reach 16 times as far.

    Raises:
        ValueError: If a number is out of range.
    """

    def __init__(
        self,
        root: str | Path,
        downscale: int = 1,
        test_every: int = 8,
        masks: bool = True,
        half_side: float = 1.0,
        cameras: str = "cameras_sphere.npz",
        val_hold: int | None = None,
        pixel_centers: bool = True,
        hold: int | None = None,
        surroundings: int = 0,
    ) -> None:
        super().__init__(root, pixel_centers)
        self.test_every = current(test_every, hold)
        require_between(1, downscale=downscale)
        require_between(0, test_every=self.test_every, val_hold=val_hold)
        require_between(0, 7, surroundings=surroundings)
        self.surroundings = surroundings
        self.downscale = downscale
        self.masks = masks
        self.half_side = half_side
        self.cameras = cameras
        self.val_hold = val_hold

    def views(self) -> Views:
        """List the views of all splits; see :meth:`PosedImageReader.views`."""
        matrices = self._matrices()
        files = self._files(_IMAGE_FOLDERS, "images")
        masks = self._files(("mask",), "masks (masks=False does without)") if self.masks else None
        self._check_order(len(matrices.projection), files, masks)
        camera = self._camera(matrices.projection, files[0])
        test = list(range(0, len(files), self.test_every)) if self.test_every else []
        train = [view for view in range(len(files)) if view not in test]
        splits, held = make_splits(train, [], test, self.val_hold)
        aabb = cube((0.0, 0.0, 0.0), self.half_side * 2**self.surroundings)
        near, far = march_bounds(camera, aabb)
        return Views(
            files, camera, splits, near, far, aabb, cascades=1 + self.surroundings, downscale=self.downscale,
            held=held, masks=masks, to_world=matrices.scale,
        )  # fmt: skip

    def path(self, kind: PathKind, n_frames: int) -> Camera:
        """Move around or past the views, about their mean up direction; see :meth:`SceneReader.path`."""
        views = self.views()
        camera = downscaled(views.camera, views.downscale)
        turn = _upright(camera.c2w[:, :, 1].mean(0))
        return along(camera, turn.T @ film_poses(turn @ camera.c2w, turn @ views.aabb.mean(0), kind, n_frames))

    def empty_hint(self, split: Split) -> str:
        """Say what to do when a split is empty."""
        return f"test_every={self.test_every} and val_hold={self.val_hold} say which views belong to which split."

    def _matrices(self) -> _Matrices:
        """Read and check the camera file."""
        source = self.root / self.cameras
        try:
            with np.load(source, allow_pickle=False) as stored:
                arrays = {name: np.array(stored[name], np.float64) for name in stored if _READ.match(name)}
        except FileNotFoundError as error:
            raise SceneError(f"no file {source}. Check the scene's folder and format.") from error
        except Exception as error:  # damaged archives end in BadZipFile, ValueError, zlib.error...
            raise SceneError(f"{source} is not a readable .npz file of numbers ({error}). Restore the file.") from error
        count = sum(name.startswith("world_mat_") for name in arrays)
        names = [f"{kind}_mat_{view}" for view in range(count) for kind in ("world", "scale")]
        lacking = [name for name in names if name not in arrays]
        if not count or lacking:
            raise SceneError(f"{source} has no {(lacking or ['world_mat_0'])[0]}; views are numbered from 0 on.")
        for name in names:
            if arrays[name].shape != (4, 4) or not np.isfinite(arrays[name]).all():
                raise SceneError(f"{source}: {name} is no 4x4 matrix of finite numbers. Restore the file.")
        scales = torch.stack([torch.from_numpy(arrays[f"scale_mat_{view}"]) for view in range(count)])
        worlds = torch.stack([torch.from_numpy(arrays[f"world_mat_{view}"]) for view in range(count)])
        return _Matrices((worlds @ scales)[:, :3], self._common_scale(scales, source))

    def _common_scale(self, scales: Tensor, source: Path) -> Tensor:
        """The one matrix from the unit sphere to the world: a scale above 0 and a shift."""
        first, size = scales[0], float(scales[0, 0, 0])
        wanted = torch.eye(4, dtype=torch.float64) * size
        wanted[:3, 3], wanted[3, 3] = first[:3, 3], 1.0
        if not size > 0 or (first - wanted).abs().max() > _SAME * size:
            raise SceneError(f"{source}: scale_mat_0 is no scale above 0 with a shift: {first.tolist()}.")
        apart = ((scales - first).abs().amax((1, 2)) > _SAME * first.abs().max()).nonzero()
        if len(apart):
            raise SceneError(f"{source}: scale_mat_{int(apart[0])} differs from scale_mat_0; all views share one.")
        return first

    def _files(self, folders: tuple[str, ...], what: str) -> tuple[Path, ...]:
        """List image files of the first folder that exists."""
        folder = next((self.root / name for name in folders if (self.root / name).is_dir()), None)
        if folder is None:
            raise SceneError(f"{self.root} has no folder {' or '.join(folders)} with the {what}.")
        files = [file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES and file.is_file()]
        return tuple(sorted(files, key=lambda file: (_number(file) or 0, file.name)))

    def _check_order(self, count: int, files: tuple[Path, ...], masks: tuple[Path, ...] | None) -> None:
        """Refuse files that do not go with the cameras one by one: pictures with another's camera never converge."""
        for found in (files, masks):
            if found is not None and len(found) != count:
                where = found[0].parent if found else self.root
                raise SceneError(
                    f"{where} holds {len(found)} files, but {self.root / self.cameras} describes {count} views. "
                    "Restore the missing files, or take the surplus away."
                )
        for view, (file, mask) in enumerate(zip(files, masks or files)):
            numbers = _number(file), _number(mask)
            if None not in numbers and numbers[0] != numbers[1]:
                raise SceneError(f"Masks are shifted: view {view} would have {file.name} with {mask.name}.")
        first = _number(files[0])
        if first is not None and _number(files[-1]) not in (None, first + count - 1):
            raise SceneError(f"{files[0].parent}: numbers from {files[0].name} to {files[-1].name} have gaps.")

    def _camera(self, projection: Tensor, first: Path) -> Camera:
        """Take the projections apart; the continuous image plane begins half a pixel before the first centre."""
        height, width, _ = read_header(first)[:3]
        where = str(self.root / self.cameras)
        views = [
            decompose_projection(matrix, height, f"{where}, world_mat_{view} @ scale_mat_{view}")
            for view, matrix in enumerate(projection)
        ]
        intrinsics = torch.stack([view.intrinsics for view in views])
        intrinsics[:, 2:] += 0.5
        outside = (intrinsics[:, 2:] < 0).any() or (intrinsics[:, 2] > width).any() or (intrinsics[:, 3] > height).any()
        if outside:
            logger.warning("%s: the principal point lies outside of %dx%d images: other sizes?", where, width, height)
        c2w = torch.stack([view.c2w for view in views])
        return Camera(c2w.float(), intrinsics.float(), torch.zeros(len(views), 4), height, width)


def _number(file: Path) -> int | None:
    """Number at the end of a file's name."""
    found = _NUMBER.search(file.stem)
    return int(found[1]) if found else None


def _upright(up: Tensor) -> Tensor:
    """(3, 3) rotation that takes a direction to +z."""
    z = torch.nn.functional.normalize(up, dim=0)
    aside = torch.eye(3).to(z)[int(z.abs().argmin())]
    x = torch.nn.functional.normalize(torch.linalg.cross(aside, z), dim=0)
    return torch.stack([x, torch.linalg.cross(z, x), z])
