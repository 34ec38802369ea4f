"""Pictures that a teacher made: the format on disk, both ways.

A folder holds ``manifest.json`` (camera, poses, bounds, teacher), shards ``shard_00000.zip`` of so many PNG files each,
and, once every shard is there, ``hashes.json`` with the SHA-256 of each. A shard is complete or absent, and its bytes
depend on nothing but the manifest, so that processes can share the work and a killed one can be started again.
"""

import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from nerfcomp.descriptions import require_between
from nerfcomp.errors import SceneError
from nerfcomp.files import atomic_write
from nerfcomp.geometry.cameras import Camera, make_camera
from nerfcomp.readers.scene import Scene, SceneReader, Split
from nerfcomp.readers.video_paths import PathKind, along, film_poses

Picture = NDArray[np.uint8]
FORMAT = "nerfcomp pseudo views 1"
_MANIFEST, _HASHES = "manifest.json", "hashes.json"
_LONG_AGO = (1980, 1, 1, 0, 0, 0)  # zip entries without the time of day give the same bytes every day


class Manifest(NamedTuple):
    """What a folder of pseudo views shows; plain JSON values.

    Attributes:
        teacher: File name and SHA-256 of the teacher, and where its poses came from.
        views_per_shard: PNG files in each shard; the last may have fewer.
        height: Rows of every view.
        width: Columns.
        intrinsics: fx, fy, cx, cy in pixels.
        distortion: OpenCV's k1, k2, p1, p2.
        near: See :class:`Scene`.
        far: See :class:`Scene`.
        ndc: See :class:`Scene`.
        aabb: See :class:`Scene`; two corners.
        background: Colour behind the scene, in [0, 1].
        poses: Camera to world of every view, twelve row-major values each.
    """

    teacher: dict[str, Any]
    views_per_shard: int
    height: int
    width: int
    intrinsics: list[float]
    distortion: list[float]
    near: float
    far: float
    ndc: bool
    aabb: list[list[float]]
    background: list[float]
    poses: list[list[float]]

    @property
    def n_shards(self) -> int:
        """Number of shards."""
        return -(-len(self.poses) // self.views_per_shard)

    def views(self, shard: int) -> range:
        """Indices of the views in a shard."""
        return range(shard * self.views_per_shard, min((shard + 1) * self.views_per_shard, len(self.poses)))

    @property
    def camera(self) -> Camera:
        """All views."""
        fx, fy, cx, cy = self.intrinsics
        k1, k2, p1, p2 = self.distortion
        poses = torch.tensor(self.poses).reshape(-1, 3, 4)
        return make_camera(poses, self.height, self.width, (fx, fy), (cx, cy), (k1, k2, p1, p2))


class PseudoFolder:
    """A folder of pseudo views.

    Args:
        root: The folder.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def open(self) -> Manifest:
        """Read the manifest.

        Raises:
            SceneError: There is none, or it is damaged.
        """
        path = self.root / _MANIFEST
        if not path.is_file():
            raise SceneError(f"{path} is missing. Make pseudo views with `python train.py predict --config ...`.")
        try:
            content = json.loads(path.read_text())
            if content.pop("format") != FORMAT:
                raise ValueError("another format")
            manifest = Manifest(**content)
            check_manifest(manifest)
        except (ValueError, TypeError, KeyError, AttributeError, RuntimeError) as error:
            raise SceneError(f"{path} is not a manifest of {FORMAT!r}: {error}. Make the views again.") from error
        return manifest

    def begin(self, manifest: Manifest) -> None:
        """Write the manifest, or find the same one there.

        Raises:
            SceneError: The folder holds other views.
        """
        path = self.root / _MANIFEST
        text = json.dumps({"format": FORMAT, **manifest._asdict()}) + "\n"
        if not path.exists():
            with atomic_write(path) as temporary:
                temporary.write_text(text)
        elif path.read_text() != text:
            raise SceneError(
                f"{self.root} holds pseudo views of another teacher, camera, seed or number. Choose another folder, or "
                "delete this one to make them again."
            )

    def shard(self, index: int) -> Path:
        """File of a shard."""
        return self.root / f"shard_{index:05d}.zip"

    def write_shard(self, index: int, first: int, pictures: list[Picture]) -> Path:
        """Write a shard, whole or not at all, and delete what a killed process left of it.

        Args:
            index: Number of the shard.
            first: Number of its first view.
            pictures: (H, W, 3) each.

        Returns:
            The file.
        """
        path = self.shard(index)
        for leftover in self.root.glob(f".{path.stem}-*"):
            leftover.unlink(missing_ok=True)
        with atomic_write(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
            for view, picture in enumerate(pictures, first):
                buffer = io.BytesIO()
                Image.fromarray(picture).save(buffer, "png", optimize=True)
                archive.writestr(zipfile.ZipInfo(view_name(view), _LONG_AGO), buffer.getvalue())
        return path

    def missing(self, manifest: Manifest) -> list[int]:
        """Shards that are not there."""
        return [index for index in range(manifest.n_shards) if not self.shard(index).is_file()]

    def finish(self, manifest: Manifest) -> bool:
        """Write the hashes when every shard is there; returns whether it was."""
        if self.missing(manifest):
            return False
        files = [self.shard(index) for index in range(manifest.n_shards)]
        hashes = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
        with atomic_write(self.root / _HASHES) as temporary:
            temporary.write_text(json.dumps(hashes, indent=0) + "\n")
        return True

    def check(self) -> None:
        """Compare every shard with its hash.

        Raises:
            SceneError: The folder is not complete, or a shard is not what it was.
        """
        path = self.root / _HASHES
        if not path.is_file():
            raise SceneError(f"{self.root} is not complete. Run the command that makes it again; it goes on.")
        for name, digest in json.loads(path.read_text()).items():
            file = self.root / Path(name).name
            if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != digest:
                raise SceneError(f"{file} is missing or damaged. Delete it and run the command that makes it again.")

    def picture(self, manifest: Manifest, view: int) -> Tensor:
        """Read one view: (H, W, 3) uint8.

        Raises:
            SceneError: Its shard is missing or damaged, or the view has another size.
        """
        path = self.shard(view // manifest.views_per_shard)
        try:
            with zipfile.ZipFile(path) as archive, Image.open(io.BytesIO(archive.read(view_name(view)))) as image:
                if image.size != (manifest.width, manifest.height) or image.mode != "RGB":
                    raise ValueError(f"it is {image.size} {image.mode}")
                array = np.array(image)
        except (OSError, KeyError, zipfile.BadZipFile, ValueError, SyntaxError) as error:
            raise SceneError(f"{path} has no good {view_name(view)}: {error}. Delete it and make it again.") from error
        return torch.from_numpy(array)


class PseudoReader(SceneReader):
    """Read pseudo views as a scene, to train anything else on them.

    Args:
        root: Folder with ``manifest.json``.
        val_views: So many views validate, the last ones, and as many before them are test views; training sees the
            others.

    Raises:
        ValueError: A number of views below 1.
    """

    def __init__(self, root: str | Path, val_views: int = 4) -> None:
        require_between(1, val_views=val_views)
        self.folder = PseudoFolder(root)
        self.val_views = val_views

    def read(self, split: Split) -> Scene:
        """Read one split; see :meth:`SceneReader.read`."""
        manifest = self.folder.open()
        count = len(manifest.poses)
        ends = {"train": count - 2 * self.val_views, "test": count - self.val_views, "val": count}
        if ends["train"] < 1:
            raise SceneError(f"{self.folder.root} has {count} views, none left to train on.")
        views = range(0 if split == "train" else ends[split] - self.val_views, ends[split])
        rgb = torch.stack([self.folder.picture(manifest, view) for view in views])
        images = torch.cat([rgb, torch.full_like(rgb[..., :1], 255)], -1)
        camera, names = manifest.camera, tuple(view_name(view) for view in views)
        some = slice(views.start, views.stop)
        chosen = Camera(camera.c2w[some], camera.intrinsics[some], camera.distortion[some], *camera[3:])
        box = torch.tensor(manifest.aabb)
        return Scene(images, chosen, manifest.near, manifest.far, box, manifest.ndc, False, names, split)

    def path(self, kind: PathKind, n_frames: int) -> Camera:
        """Move around or past the views; see :meth:`SceneReader.path`."""
        manifest = self.folder.open()
        center = torch.tensor(manifest.aabb).mean(0)
        return along(manifest.camera, film_poses(manifest.camera.c2w, center, kind, n_frames))


def check_manifest(manifest: Manifest) -> None:
    """Refuse what cannot be a camera and a scene.

    Raises:
        ValueError: A number is missing, not finite or out of range.
    """
    sizes = (manifest.views_per_shard, manifest.height, manifest.width)
    if not all(type(size) is int and 1 <= size <= 2**15 for size in sizes):
        raise ValueError(f"views_per_shard, height and width are {sizes}; they must be whole, from 1 to 32768")
    numbers = {
        (len(manifest.poses), 12): manifest.poses,
        (4,): [manifest.intrinsics, manifest.distortion],
        (2, 3): manifest.aabb,
        (3,): manifest.background,
        (): [manifest.near, manifest.far],
    }
    for shape, values in numbers.items():
        tensors = torch.tensor(values, dtype=torch.float64)
        if tensors.shape[-len(shape) :] != shape and shape != () or not tensors.isfinite().all():
            raise ValueError(f"there are {tuple(tensors.shape)} numbers where {shape} finite ones belong")
    if not manifest.poses or min(manifest.intrinsics[:2]) <= 0 or type(manifest.ndc) is not bool:
        raise ValueError("there is no view, no focal length, or ndc is neither true nor false")


def view_name(view: int) -> str:
    """File name of a view inside its shard.

    >>> view_name(12)
    'view_000012.png'
    """
    return f"view_{view:06d}.png"
