"""Whole views for students: real ones, those that a teacher wrote down, and those that it renders on the fly."""

from functools import cache

from torch import Tensor

from nerfcomp.artifacts.scene_info import SceneInfo
from nerfcomp.datamodules.loaders import over_background
from nerfcomp.datamodules.patch_loader import RandomPatchLoader
from nerfcomp.datamodules.poses import PoseSource
from nerfcomp.datamodules.rays import RayDataModule
from nerfcomp.datamodules.teacher import TeacherViews
from nerfcomp.datamodules.view_loaders import FreshViewLoader, Picture, RandomViewLoader
from nerfcomp.errors import SceneError, SettingsError
from nerfcomp.geometry.cameras import Camera
from nerfcomp.readers.pseudo import Manifest, PseudoFolder
from nerfcomp.readers.scene import SceneReader

Loader = RandomViewLoader | RandomPatchLoader | FreshViewLoader


class ViewDataModule(RayDataModule):
    """Whole training views of a scene, several per step; whole validation and test views.

    Args:
        reader: Reads the scene.
        batch_size: Views per process and step.
        seed: Batch s depends on this and s alone.
        val_views: Use this many validation views, evenly spread; all when absent. Test always uses all.
        patch: Train on patches of so many pixels along a side, cut from many views, that together are as large as
            ``batch_size`` views; on whole views when absent.
    """

    def __init__(
        self,
        reader: SceneReader,
        batch_size: int = 4,
        seed: int = 0,
        val_views: int | None = None,
        patch: int | None = None,
    ) -> None:
        super().__init__(reader, batch_size=batch_size, seed=seed, val_views=val_views)
        self.patch = patch

    @property
    def info(self) -> SceneInfo:
        """What the student must know of the scene."""
        red, green, blue = self.background.tolist()
        return SceneInfo.from_scene(self.scene, (red, green, blue))

    def train_dataloader(self) -> Loader:  # type: ignore[override]
        """Random training views."""
        scene, background = self.split("train"), self.background

        @cache
        def picture(view: int) -> Tensor:
            rgb = over_background(scene.images[view].view(-1, 4), background) * 255
            return rgb.round().byte().view(scene.camera.height, scene.camera.width, 3)

        return self._loader(scene.camera, picture)

    def _loader(self, camera: Camera, picture: Picture) -> Loader:
        """Views or patches of them."""
        common = (self.batch_size, self._step_counter(), self.seed, *self._place)
        if self.patch is None:
            return RandomViewLoader(camera, picture, *common)
        return RandomPatchLoader(camera, picture, self.patch, *common)


class PseudoDataModule(ViewDataModule):
    """Training views that ``train.py predict`` wrote; real views of the scene for validation and test.

    Args:
        root: Folder of the pseudo views.
        reader: Reads the real scene.
        batch_size: Views per process and step.
        seed: Batch s depends on this and s alone.
        val_views: Use this many validation views, evenly spread; all when absent.
        memory_gib: Sets up to this size are decoded once and kept; of larger ones every batch is decoded anew.
        patch: See :class:`ViewDataModule`.
    """

    def __init__(
        self,
        root: str,
        reader: SceneReader,
        batch_size: int = 4,
        seed: int = 0,
        val_views: int | None = None,
        memory_gib: float = 4.0,
        patch: int | None = None,
    ) -> None:
        super().__init__(reader, batch_size, seed, val_views, patch)
        self.folder = PseudoFolder(root)
        self.memory_gib = memory_gib
        self._manifest: Manifest | None = None

    def setup(self, stage: str) -> None:
        """Read the real views that ``stage`` needs; in training the pseudo views must be complete."""
        if stage == "fit":
            lacking = self.folder.missing(self.manifest)
            if lacking:
                raise SceneError(
                    f"{self.folder.root} lacks {len(lacking)} of {self.manifest.n_shards} shards. Run the command that "
                    "makes it again; it goes on where it stopped."
                )
        super().setup("validate" if stage == "fit" and self.has("val") else stage)

    @property
    def manifest(self) -> Manifest:
        """What the pseudo views are."""
        if self._manifest is None:
            self._manifest = self.folder.open()
        return self._manifest

    @property
    def info(self) -> SceneInfo:
        """What the student must know of the scene: what its teacher knew."""
        manifest = self.manifest
        keys = ("aabb", "near", "far", "ndc", "background", "height", "width", "intrinsics", "distortion", "poses")
        return SceneInfo.from_json({key: getattr(manifest, key) for key in keys})

    def train_dataloader(self) -> Loader:  # type: ignore[override]
        """Random pseudo views."""
        manifest, folder = self.manifest, self.folder
        pixels = manifest.height * manifest.width * 3
        kept: list[Tensor | None] = [None] * len(manifest.poses)
        keep = pixels * len(kept) <= self.memory_gib * 2**30

        def picture(view: int) -> Tensor:
            found = kept[view]
            if found is None:
                found = folder.picture(manifest, view)
                kept[view] = found if keep else None
            return found

        return self._loader(manifest.camera, picture)


class TeacherDataModule(ViewDataModule):
    """Training views that a teacher renders while the student trains: nothing on disk, fresh views in every epoch.

    Args:
        teacher: Checkpoint or ``.nfc`` file of a trained field.
        reader: Reads the real scene, for validation and test.
        poses: Draws the poses; :class:`SphericalPoses` when absent.
        scale: Size of the views relative to the images that the teacher was trained on.
        fresh_views: New views per epoch, over all processes.
        pool_views: Views that are kept in memory and drawn from, over all processes; at least ``fresh_views``.
        steps_per_epoch: Steps between two renderings of fresh views.
        batch_size: Views per process and step.
        seed: Pose i and batch s depend on this, i and s alone.
        val_views: Use this many validation views, evenly spread; all when absent.

    Raises:
        ValueError: The pool is smaller than what is to be put into it.
    """

    def __init__(
        self,
        teacher: str,
        reader: SceneReader,
        poses: PoseSource | None = None,
        scale: float = 1.0,
        fresh_views: int = 20,
        pool_views: int = 200,
        steps_per_epoch: int = 100,
        batch_size: int = 4,
        seed: int = 0,
        val_views: int | None = None,
    ) -> None:
        super().__init__(reader, batch_size, seed, val_views)
        if not 1 <= fresh_views <= pool_views or steps_per_epoch < 1:
            raise ValueError(
                f"Cannot add {fresh_views} views to a pool of {pool_views} every {steps_per_epoch} steps: "
                "1 <= fresh_views <= pool_views and steps_per_epoch >= 1 are needed."
            )
        self.source = TeacherViews(teacher, poses, scale, seed)
        self.fresh_views = fresh_views
        self.pool_views = pool_views
        self.steps_per_epoch = steps_per_epoch

    def setup(self, stage: str) -> None:
        """Read the real views that ``stage`` needs."""
        super().setup("validate" if stage == "fit" and self.has("val") else stage)

    @property
    def info(self) -> SceneInfo:
        """What the student must know of the scene: what its teacher knows, at the size of its views."""
        return self.source.trained.scene.with_rays(pixel_centers=True).scaled(self.source.scale)

    def train_dataloader(self) -> Loader:  # type: ignore[override]
        """Views from the pool, which grows fresh views at the beginning of every epoch."""
        rank, world_size = self._place
        if self.fresh_views // world_size < self.batch_size:
            raise SettingsError(
                f"{self.fresh_views} fresh views are too few for {world_size} processes with batches of "
                f"{self.batch_size}. Raise fresh_views or lower batch_size."
            )
        source = self.source
        source.to(self._device)
        return FreshViewLoader(
            source.render,
            self.fresh_views,
            self.pool_views,
            self.steps_per_epoch,
            self.batch_size,
            self._step_counter(),
            self.seed,
            rank,
            world_size,
        )
