"""Poses at which a teacher draws pictures: all of them once, for a file, or fresh ones in every epoch."""

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from nerfcomp.artifacts.artifact import SceneArtifact
from nerfcomp.artifacts.convention import ray_camera
from nerfcomp.artifacts.reading import read_scene_artifact
from nerfcomp.datamodules.base import SceneDataModule
from nerfcomp.datamodules.poses import PoseSource, SphericalPoses
from nerfcomp.geometry.cameras import Camera, scaled
from nerfcomp.geometry.rays import RayBatch, image_rays
from nerfcomp.readers.scene import SceneReader
from nerfcomp.readers.video_paths import along


class TeacherViews:
    """An endless sequence of views of the scene that a teacher knows.

    Args:
        teacher: Checkpoint or ``.nfc`` file of a trained field.
        poses: Draws the poses; :class:`SphericalPoses` when absent.
        scale: Size of the views relative to the images that the teacher was trained on.
        seed: Pose ``i`` depends on this, ``i`` and the known poses alone.

    Raises:
        ValueError: A number out of range.
    """

    def __init__(self, teacher: str, poses: PoseSource | None = None, scale: float = 1.0, seed: int = 0) -> None:
        if not scale > 0 or seed < 0:
            raise ValueError(f"A teacher's views need scale > 0 and seed >= 0, got {scale} and {seed}.")
        self.teacher = teacher
        self.poses = poses or SphericalPoses()
        self.scale = scale
        self.seed = seed
        self._trained: SceneArtifact | None = None

    @property
    def trained(self) -> SceneArtifact:
        """The teacher; read on the first call."""
        if self._trained is None:
            self._trained = read_scene_artifact(self.teacher)
            self._trained.prepare()
        return self._trained

    @property
    def home(self) -> Camera:
        """The views that the teacher remembers, seen through the centres of pixels, at the size of the new ones."""
        return scaled(self.trained.scene.with_rays(pixel_centers=True).camera, self.scale)

    def to(self, device: torch.device) -> None:
        """Render on a device from now on."""
        self._trained = self.trained.to(device)

    def camera(self, views: Iterable[int], known: Tensor | None = None) -> Camera:
        """Camera of some views of the sequence; ``known`` poses (V, 3, 4) instead of the teacher's."""
        home = self.home
        known = home.c2w if known is None else known
        return along(home, torch.stack([self.poses.pose(known, self.seed, view) for view in views]))

    def render(self, view: int) -> tuple[Camera, Tensor]:
        """One view: its camera and (H, W, 3) uint8 on the CPU."""
        camera = self.camera([view])
        drawn = self.trained.draw(ray_camera(camera, self.trained.scene))
        rgb = torch.nan_to_num(drawn.rgb).clamp(0, 1) * 255
        return camera, rgb.round().byte().cpu().view(camera.height, camera.width, 3)


class PoseDataModule(SceneDataModule):
    """New views of the scene that a teacher knows, without colours; for ``train.py predict``.

    Args:
        teacher: Checkpoint or ``.nfc`` file of a trained field.
        n_views: Number of views.
        poses: Draws the poses; :class:`SphericalPoses` when absent.
        scale: Size of the views relative to the images that the teacher was trained on.
        seed: Pose ``i`` depends on this, ``i`` and the known poses alone.
        reader: The scene, when its training poses shall be imitated instead of those that the teacher remembers.

    Raises:
        ValueError: A number out of range.
    """

    def __init__(
        self,
        teacher: str,
        n_views: int = 200,
        poses: PoseSource | None = None,
        scale: float = 1.0,
        seed: int = 0,
        reader: SceneReader | None = None,
    ) -> None:
        super().__init__(reader)
        if n_views < 1:
            raise ValueError(f"At least one view is needed, got n_views = {n_views}.")
        self.source = TeacherViews(teacher, poses, scale, seed)
        self.n_views = n_views
        self.views: Sequence[int] | None = None
        self._cameras: Camera | None = None

    @property
    def trained(self) -> SceneArtifact:
        """The teacher."""
        return self.source.trained

    def setup(self, stage: str) -> None:
        """Draw the poses, so that wrong options end the run before it starts."""
        if stage != "predict":
            super().setup(stage)
        assert len(self.cameras.c2w) == self.n_views

    @property
    def cameras(self) -> Camera:
        """All views that are to be predicted."""
        if self._cameras is None:
            known = None if self.reader is None else self.split("train").camera.c2w
            self._cameras = self.source.camera(range(self.n_views), known)
        return self._cameras

    def predict_dataloader(self) -> "PoseLoader":
        """The views in ``views``, or this process's share of all, one per batch."""
        if self.views is not None:
            return PoseLoader(self.trained, self.cameras, self.views)
        rank, world_size = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        return PoseLoader(self.trained, self.cameras, range(rank, self.n_views, world_size))


class PoseLoader:
    """Rays of whole views, one view per batch, named after its number.

    Args:
        trained: The teacher, which knows bounds and background.
        camera: All views.
        views: Which of them.
    """

    def __init__(self, trained: SceneArtifact, camera: Camera, views: Sequence[int]) -> None:
        self.scene = trained.scene
        self.camera = ray_camera(camera, trained.scene)
        self.views = views

    def __len__(self) -> int:
        return len(self.views)

    def __iter__(self) -> Iterator[RayBatch]:
        background = torch.tensor(self.scene.background)
        for view in self.views:
            rays = image_rays(self.camera, view, self.scene.near, self.scene.far, self.scene.ndc)
            empty: Tensor = rays.origins.new_zeros(0, 3)
            yield RayBatch(rays, empty, background, self.camera.height, self.camera.width, str(view))
