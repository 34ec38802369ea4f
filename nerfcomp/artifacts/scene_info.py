"""What a renderer must know of a scene once its images are gone."""

import logging
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch

from nerfcomp.errors import SceneError
from nerfcomp.fields import Bounds
from nerfcomp.geometry.cameras import Camera, scaled
from nerfcomp.geometry.checks import check_scene_numbers
from nerfcomp.readers.scene import Scene

_MOST_POSES, _LARGEST_SIDE, _LARGEST = 2**16, 2**15, 1e30
logger = logging.getLogger(__name__)


class SceneInfo(NamedTuple):
    """What a renderer must know of the scene once the images are gone; plain JSON values.

    Attributes:
        aabb: Minimum and maximum corner of the cube, or of a light field's box, in world units (NDC for
            forward-facing scenes).
        near: Nearest distance along a ray, in world units.
        far: Farthest distance, likewise.
        ndc: Rays are mapped to NDC before they are marched.
        background: Colour behind the scene, three values in [0, 1].
        height: Rows of the scene's images.
        width: Columns of the scene's images.
        intrinsics: fx, fy, cx, cy in pixels.
        distortion: OpenCV's k1, k2, p1, p2.
        poses: Camera-to-world of views that show the scene, twelve row-major values each; the first is the home view.
        pixel_centers: See `Scene`: whether the rays of ``intrinsics`` go through the centres of pixels.
        to_world: See `Scene`; sixteen row-major values, or none.
    """

    aabb: tuple[tuple[float, float, float], tuple[float, float, float]]
    near: float
    far: float
    ndc: bool
    background: tuple[float, float, float]
    height: int
    width: int
    intrinsics: tuple[float, float, float, float]
    distortion: tuple[float, float, float, float]
    poses: tuple[tuple[float, ...], ...]
    pixel_centers: bool = True
    to_world: tuple[float, ...] | None = None

    @classmethod
    def from_scene(cls, scene: Scene, background: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> "SceneInfo":
        """Keep what rendering needs of ``scene``.

        Raises:
            SceneError: It has numbers that cannot be rendered.
        """
        camera = scene.camera
        corners = [tuple(corner) for corner in scene.aabb.tolist()]
        found = cls(
            (corners[0], corners[1]),
            float(scene.near),
            float(scene.far),
            bool(scene.ndc),
            background,
            int(camera.height),
            int(camera.width),
            tuple(camera.intrinsics[0].tolist()),
            tuple(camera.distortion[0].tolist()),
            tuple(tuple(round(value, 6) for value in pose) for pose in camera.c2w.flatten(1).tolist()),
            bool(scene.pixel_centers),
            None if scene.to_world is None else tuple(scene.to_world.double().flatten().tolist()),
        )
        try:
            found.check()
        except ValueError as error:
            raise SceneError(f"This scene cannot be used: {error}") from error
        return found

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "SceneInfo":
        """Rebuild from a file's JSON object.

        Raises:
            ValueError: A key is missing, unknown or holds something that cannot be rendered.
        """
        values = {"pixel_centers": True, "to_world": None, **values}
        if set(values) != set(cls._fields):
            raise ValueError(f"The scene needs exactly the keys {list(cls._fields)}, got {sorted(values)}.")
        count = len(values["poses"]) if isinstance(values["poses"], list | tuple) else 0
        lengths = {"aabb": (2, 3), "background": (3,), "intrinsics": (4,), "distortion": (4,), "poses": (count, 12)}
        if values["to_world"] is not None:
            lengths["to_world"] = (16,)
        rows = {key: _rows(key, values[key], shape) for key, shape in lengths.items()}
        if not 1 <= count <= _MOST_POSES:
            raise ValueError(f"A scene has 1 to {_MOST_POSES} poses, found {count}.")
        if not all(type(values[key]) is int and 1 <= values[key] <= _LARGEST_SIDE for key in ("height", "width")):
            raise ValueError(f"Height and width of images are whole numbers from 1 to {_LARGEST_SIDE}.")
        if not all(isinstance(values[key], bool) for key in ("ndc", "pixel_centers")):
            raise ValueError("ndc and pixel_centers of a scene are true or false.")
        found = cls(**{**values, **rows})
        found.check()
        return found._replace(near=float(found.near), far=float(found.far))

    def check(self) -> None:
        """Refuse numbers that cannot be rendered; see `check_scene_numbers`.

        Raises:
            ValueError: One cannot.
        """
        box = torch.tensor(self.aabb, dtype=torch.float64)
        check_scene_numbers(self.camera, self.near, self.far, box, self.background)

    def to_json(self) -> dict[str, Any]:
        """Values that `from_json` reads; what is usual is not mentioned, as in files of before."""
        usual = {"pixel_centers": True, "to_world": None}
        return {key: value for key, value in self._asdict().items() if key not in usual or value != usual[key]}

    @property
    def camera(self) -> Camera:
        """All poses, with the intrinsics of the home view."""
        count = len(self.poses)
        return Camera(
            torch.tensor(self.poses).reshape(count, 3, 4),
            torch.tensor([self.intrinsics]).expand(count, 4).contiguous(),
            torch.tensor([self.distortion]).expand(count, 4).contiguous(),
            self.height,
            self.width,
        )

    def warn_of_one_pose(self) -> None:
        """Say so before what weights mean to pictures is measured from a single pose."""
        if len(self.poses) == 1:
            logger.warning(
                "Only one pose of this scene is known, so its pictures are measured from one side alone. Files of "
                "earlier versions keep one pose; use the checkpoint instead, or a file encoded from it anew."
            )

    def scaled(self, factor: float) -> "SceneInfo":
        """The same scene with pictures of another size."""
        home = scaled(self.camera, factor)
        fx, fy, cx, cy = home.intrinsics[0].tolist()
        return self._replace(height=home.height, width=home.width, intrinsics=(fx, fy, cx, cy))

    def with_rays(self, pixel_centers: bool) -> "SceneInfo":
        """The same scene, seen along rays through the centres of the images' pixels, or through their corners."""
        fx, fy, cx, cy = self.intrinsics
        shift = 0.5 * (int(self.pixel_centers) - int(pixel_centers))
        return self._replace(intrinsics=(fx, fy, cx + shift, cy + shift), pixel_centers=pixel_centers)

    @property
    def bounds(self) -> Bounds:
        """Between which distances light fields place points."""
        fx, fy = self.intrinsics[:2]
        return Bounds(self.near, self.far, (self.width / (2 * fx), self.height / (2 * fy)) if self.ndc else None)


def _rows(key: str, value: Any, shape: tuple[int, ...]) -> Any:
    """Nested tuples of finite numbers from a file's lists of a given shape."""
    if len(shape) > 1:
        if not isinstance(value, list | tuple) or len(value) != shape[0]:
            raise ValueError(f"{key} of a scene needs {shape[0]} rows of {shape[1]} numbers.")
        return tuple(_rows(key, row, shape[1:]) for row in value)
    if not isinstance(value, list | tuple) or len(value) != shape[0] or any(type(v) not in (int, float) for v in value):
        raise ValueError(f"{key} of a scene needs {shape[0]} numbers, found {str(value)[:60]}.")
    if not all(abs(v) < _LARGEST for v in value):
        raise ValueError(f"{key} of a scene must be finite numbers, found {str(value)[:60]}.")
    return tuple(float(v) for v in value)
