"""Scenes of nerf_synthetic and everything exported like them."""

from pathlib import Path

from nerfcomp.descriptions import require_between
from nerfcomp.errors import SceneError
from nerfcomp.readers.frames import Frames, frames_camera, read_frames
from nerfcomp.readers.images import find_image, read_header
from nerfcomp.readers.posed import PosedImageReader, Views, current, join_cameras, make_splits
from nerfcomp.readers.scene import HALF_SIDE_PER_RADIUS, Split, cube, march_bounds


class BlenderReader(PosedImageReader):
    """Read ``transforms_train.json``, ``transforms_val.json`` and ``transforms_test.json`` with their RGBA images.

    The world is kept as it is in the files, whatever the cameras' distance. The scene's cube is centred at the origin;
    its half side is 1.5 where the cameras stand 4.0311 away, as in nerf_synthetic, and in proportion elsewhere.

    Validation views come from, in this order: every ``val_hold``-th training view when asked; ``transforms_val.json``;
    one training view in eight. Those are not trained on, as the log points out. Test views never validate: choosing
    settings by them would be cheating.

    Args:
        root: Folder with the transforms files.
        downscale: Average blocks of this many pixels squared; 2 makes 400x400 of nerf_synthetic's 800x800.
        test_every: Keep every n-th view of ``transforms_test.json`` and ``transforms_val.json``.
        val_hold: Hold every n-th training view back for validation; 0 for none. By default one in eight, eight at
            most, where the scene has no validation views of its own.
        half_side: Half side of the scene's cube in world units, instead of the proportional one.
        near: Distance where rays begin, instead of one in front of the cube.
        far: Distance where rays end, instead of one behind it.
        pixel_centers: Send rays through the centres of pixels. Turn off for fields that nerf-pytorch or nerf_pl made or
            shall read: theirs go through the corners.
        test_skip: Former name of ``test_every``.

    Raises:
        ValueError: If a number is out of range.
    """

    def __init__(
        self,
        root: str | Path,
        downscale: int = 1,
        test_every: int = 1,
        val_hold: int | None = None,
        half_side: float | None = None,
        near: float | None = None,
        far: float | None = None,
        pixel_centers: bool = True,
        test_skip: int | None = None,
    ) -> None:
        super().__init__(root, pixel_centers)
        self.test_every = current(test_every, test_skip)
        require_between(1, downscale=downscale, test_every=self.test_every)
        require_between(0, val_hold=val_hold)
        self.downscale = downscale
        self.val_hold = val_hold
        self.half_side = half_side
        self.near = near
        self.far = far

    def views(self) -> Views:
        """List the views of all splits; see :meth:`PosedImageReader.views`."""
        parts = self._frames()
        header = read_header(find_image(parts["train"].images[0]))
        camera = join_cameras([frames_camera(frames, header.height, header.width) for frames in parts.values()])
        radius = float(parts["train"].c2w[:, :, 3].norm(dim=-1).median())
        if self.half_side is None and radius < 1e-6:
            raise SceneError(f"{parts['train'].source}: the cameras stand at the origin. Pass half_side for the cube.")
        aabb = cube((0.0, 0.0, 0.0), HALF_SIDE_PER_RADIUS * radius if self.half_side is None else self.half_side)
        near, far = march_bounds(camera, aabb)
        near, far = near if self.near is None else self.near, far if self.far is None else self.far
        if not 0.0 <= near < far:
            raise SceneError(f"Rays cannot be marched from {near} to {far}; need 0 <= near < far.")
        files = tuple(image for frames in parts.values() for image in frames.images)
        splits, held = self._splits(parts)
        return Views(files, camera, splits, near, far, aabb, downscale=self.downscale, held=held)

    def empty_hint(self, split: Split) -> str:
        """Say what to do when a split is empty."""
        if split == "val":
            return "Add transforms_val.json, or pass val_hold to hold training views back."
        return f"Add frames to {self.root / f'transforms_{split}.json'}."

    def _frames(self) -> dict[Split, Frames]:
        """Read the files that exist; the training file must."""
        parts: dict[Split, Frames] = {"train": read_frames(self.root / "transforms_train.json")}
        if not parts["train"].images:
            raise SceneError(f"{self.root / 'transforms_train.json'} lists no frames. Add at least one.")
        others: tuple[Split, ...] = ("val", "test")
        for split in others:
            source = self.root / f"transforms_{split}.json"
            if source.exists():
                parts[split] = read_frames(source)
        return parts

    def _splits(self, parts: dict[Split, Frames]) -> tuple[dict[Split, list[int]], int]:
        """Number the frames of all files one after the other and choose."""
        indices: dict[str, list[int]] = {"train": [], "val": [], "test": []}
        first = 0
        for split, frames in parts.items():
            skip = 1 if split == "train" else self.test_every
            indices[split] = list(range(first, first + len(frames.images), skip))
            first += len(frames.images)
        return make_splits(indices["train"], indices["val"], indices["test"], self.val_hold)
