"""Captures described by one ``transforms.json``, as instant-ngp and nerfstudio write them."""

import logging
import math
from pathlib import Path, PurePosixPath

import torch

from nerfcomp.descriptions import require_between
from nerfcomp.errors import SceneError
from nerfcomp.readers.alignment import REGION, align_upright
from nerfcomp.readers.frames import Frames, frames_camera, number, read_frames, with_images
from nerfcomp.readers.images import SUFFIXES, find_image, read_header
from nerfcomp.readers.posed import PosedImageReader, Views, make_splits
from nerfcomp.readers.scene import HALF_SIDE_PER_RADIUS, Split, cube, march_bounds

logger = logging.getLogger(__name__)

_NGP_SCALE = 0.33  # instant-ngp's unit cube has a side of 1 / 0.33 in the units of the file
_DEFAULT_AABB_SCALE = 16.0  # of an unbounded capture: the cube reaches six times as far as the cameras stand
_LISTS: tuple[Split, ...] = ("train", "val", "test")


class TransformsReader(PosedImageReader):
    """Read one ``transforms.json`` with its images.

    Intrinsics are shared or per frame: ``fl_x fl_y cx cy k1 k2 p1 p2 w h`` or ``camera_angle_x camera_angle_y``. Image
    paths are relative to the file, with or without suffix; frames without an image are left out with a warning. Lens
    distortion stays in the camera; images are not warped.

    Frame: a file with ``aabb_scale`` is meant for instant-ngp and keeps its own frame, with the cube that instant-ngp
    would march. Any other is turned upright, centred on what the cameras look at (on the cameras themselves when they
    do not look at a common point) and scaled to a median camera distance of 4. ``recenter`` decides otherwise.

    Cube: ``aabb_scale`` times the region of interest, a cube of half side 1.5 in the recentred frame, in as many
    cascades as there are doublings. 1 suits an object on an empty background, 16 an open room or garden.

    Splits: ``train_filenames``, ``val_filenames``, ``test_filenames`` of the file; without them a seeded draw holds a
    tenth of the views out for test. Validation shows, in this order: every ``val_hold``-th training view when asked;
    ``val_filenames``; one training view in eight. It never shows test views.

    Args:
        root: The file, or the folder with ``transforms.json``.
        downscale: Average blocks of this many pixels squared.
        recenter: Move the scene to a frame of our own; by default only when the file has no ``aabb_scale``.
        aabb_scale: See above; by default that of the file, else 16.
        test_fraction: Part of the views that the seeded draw holds out, at least one view unless 0.
        seed: Seed of that draw.
        val_hold: Hold every n-th training view back for validation; 0 for none. By default one in eight, eight at
            most, where the scene has no validation views of its own.
        pixel_centers: Send rays through the centres of pixels. Turn off for fields that nerf-pytorch or nerf_pl made or
            shall read: theirs go through the corners.
        test_every: Hold every n-th view out for test, beginning with the first, instead of a draw; 0 for none.

    Raises:
        ValueError: If a number is out of range.
    """

    def __init__(
        self,
        root: str | Path,
        downscale: int = 1,
        recenter: bool | None = None,
        aabb_scale: float | None = None,
        test_fraction: float = 0.1,
        seed: int = 0,
        val_hold: int | None = None,
        pixel_centers: bool = True,
        test_every: int | None = None,
    ) -> None:
        super().__init__(root, pixel_centers)
        require_between(1, downscale=downscale)
        require_between(0, val_hold=val_hold, test_every=test_every)
        if not 0 <= test_fraction < 1:
            raise ValueError(f"test_fraction is {test_fraction}; it must be at least 0 and below 1")
        if aabb_scale is not None and not 0 < aabb_scale <= 128:
            raise ValueError(f"aabb_scale is {aabb_scale}; it must be above 0 and at most 128")
        self.downscale = downscale
        self.recenter = recenter
        self.aabb_scale = aabb_scale
        self.test_fraction, self.test_every = test_fraction, test_every
        self.seed = seed
        self.val_hold = val_hold
        self._said = set[str]()

    def views(self) -> Views:
        """List the views of all splits; see :meth:`PosedImageReader.views`."""
        frames = self._frames()
        header = read_header(find_image(frames.images[0]))
        camera = frames_camera(frames, header.height, header.width)
        said = number(frames.shared, "aabb_scale", str(frames.source))
        if said is not None and not 0 < said <= 128:
            raise SceneError(f"{frames.source}: 'aabb_scale' is {said}; it must be above 0 and at most 128.")
        aabb_scale = self.aabb_scale or said or _DEFAULT_AABB_SCALE
        if self.recenter if self.recenter is not None else said is None:
            c2w = align_upright(frames.c2w, str(frames.source)).c2w
            center, half_side = (0.0, 0.0, 0.0), REGION
        else:
            c2w = frames.c2w
            center, half_side = _stated_cube(frames, said is not None)
        camera = camera._replace(c2w=c2w.float())
        aabb = cube(center, half_side * aabb_scale)
        near, far = march_bounds(camera, aabb)
        cascades = 1 + max(0, math.ceil(math.log2(aabb_scale)))
        splits, held = self._splits(frames)
        size = self.downscale
        return Views(frames.images, camera, splits, near, far, aabb, cascades=cascades, downscale=size, held=held)

    def empty_hint(self, split: Split) -> str:
        """Say what to do when a split is empty."""
        return f"'{split}_filenames' of the file, else test_every, test_fraction and val_hold say which views it has."

    def _frames(self) -> Frames:
        """Read the file."""
        source = self.root if self.root.is_file() else self.root / "transforms.json"
        if not source.exists() and (self.root / "transforms_train.json").exists():
            raise SceneError(
                f"no file {source}, but transforms_train.json is there: this is a scene for BlenderReader."
            )
        frames = with_images(read_frames(source))
        if not frames.images:
            raise SceneError(f"{source} lists no frames. Add at least one.")
        if any("mask_path" in entry for entry in frames.entries):
            self._say_once(logging.WARNING, "%s names masks ('mask_path'); they are not used, all pixels are.", source)
        self._report(frames)
        return frames

    def _report(self, frames: Frames) -> None:
        """Say which frames are left out."""
        if frames.missing:
            every = len(frames.images) + len(frames.missing)
            self._say_once(
                logging.WARNING,
                "%s lists %d frames; %d of them have no image and are left out, %s for one.",
                *(frames.source, every, len(frames.missing), frames.missing[0]),
            )

    def _say_once(self, level: int, message: str, *values: object) -> None:
        """Log, but not again for every split."""
        if message not in self._said:
            self._said.add(message)
            logger.log(level, message, *values)

    def _splits(self, frames: Frames) -> tuple[dict[Split, list[int]], int]:
        """Take the splits of the file, or draw them."""
        lists = {split: frames.shared.get(f"{split}_filenames") for split in _LISTS}
        if any(names is not None for names in lists.values()):
            known: dict[PurePosixPath, int | None] = {_key(name): None for name in frames.missing}
            known |= {_key(entry["file_path"]): view for view, entry in enumerate(frames.entries)}
            train, val, test = (_listed(frames, split, lists[split], known) for split in _LISTS)
        elif self.test_every is not None:
            every = range(len(frames.images))
            test = list(every[:: self.test_every]) if self.test_every else []
            train, val = [view for view in every if view not in test], []
        else:
            order = torch.randperm(len(frames.images), generator=torch.Generator().manual_seed(self.seed)).tolist()
            count = max(1, round(self.test_fraction * len(order))) if self.test_fraction > 0 else 0
            test, train, val = sorted(order[:count]), sorted(order[count:]), []
            self._say_once(
                logging.INFO,
                "%s has no lists of splits: a draw with seed %d keeps %d of %d views for test.",
                *(frames.source, self.seed, count, len(order)),
            )
        return make_splits(train, val, test, self.val_hold)


def _stated_cube(frames: Frames, for_ngp: bool) -> tuple[tuple[float, float, float], float]:
    """Find centre and half side of the region of interest in the file's own frame.

    instant-ngp maps a position p to ``p * scale + offset`` and has [0, 1]^3 as its region of interest.
    """
    scale = number(frames.shared, "scale", str(frames.source))
    if not for_ngp and scale is None:
        return (0.0, 0.0, 0.0), HALF_SIDE_PER_RADIUS * float(frames.c2w[:, :, 3].norm(dim=-1).median())
    if scale is not None and scale <= 0:
        raise SceneError(f"{frames.source}: 'scale' is {scale}; it must be above 0.")
    offset = frames.shared.get("offset", [0.5, 0.5, 0.5])
    try:
        x, y, z = ((0.5 - float(value)) / (scale or _NGP_SCALE) for value in offset)
    except (TypeError, ValueError, OverflowError) as error:
        raise SceneError(f"{frames.source}: 'offset' is {offset!r}; it must be a list of three numbers.") from error
    if not math.isfinite(x + y + z):
        raise SceneError(f"{frames.source}: 'offset' is {offset!r}; its numbers must be finite.")
    return (x, y, z), 0.5 / (scale or _NGP_SCALE)


def _key(name: str) -> PurePosixPath:
    """Path without an image's suffix and a leading dot, for comparing names."""
    path = PurePosixPath(name.replace("\\", "/"))
    return path.parent / path.stem if path.suffix in SUFFIXES else path


def _listed(frames: Frames, split: Split, names: object, known: dict[PurePosixPath, int | None]) -> list[int]:
    """Indices of the views that a list of file names means."""
    if names is None:
        return []
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise SceneError(f"{frames.source}: '{split}_filenames' must be a list of file names.")
    strangers = [name for name in names if _key(name) not in known]
    if strangers:
        raise SceneError(f"{frames.source}: '{split}_filenames' names {strangers[0]}, which no frame has.")
    return sorted({view for name in names if (view := known[_key(name)]) is not None})
