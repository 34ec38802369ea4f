"""What every datamodule over one scene offers to modules and callbacks."""

from typing import Any

import torch
from lightning import LightningDataModule
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor

from nerfcomp.artifacts.convention import as_trained, ray_camera
from nerfcomp.artifacts.scene_info import SceneInfo
from nerfcomp.devices import sent
from nerfcomp.errors import NerfcompError
from nerfcomp.geometry.cameras import Camera
from nerfcomp.readers.scene import Scene, SceneReader, Split
from nerfcomp.readers.video_paths import PathKind

_SPLITS: dict[str, tuple[Split, ...]] = {
    "fit": ("train", "val"),
    "validate": ("val",),
    "test": ("test",),
    "predict": ("train",),
}


class SceneDataModule(LightningDataModule):
    """Base of the datamodules that read one scene.

    Args:
        reader: Reads the scene from disk, or makes it; a child that brings its own views may do without.
    """

    def __init__(self, reader: SceneReader | None) -> None:
        super().__init__()
        self.reader = reader
        self._known: SceneInfo | None = None
        self._scenes: dict[Split, Scene] = {}
        self._main: Split = "train"

    def setup(self, stage: str) -> None:
        """Read the splits that ``stage`` needs, once; training does without validation views where there are none."""
        for split in _SPLITS[stage]:
            if stage != "fit" or self.has(split):
                self.split(split)
        self._main = _SPLITS[stage][0]

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Copy a batch to the device; the program goes on while a GPU still works on what came before."""
        return apply_to_collection(batch, Tensor, sent, device)

    def has(self, split: Split) -> bool:
        """Whether a split has any views."""
        return split in self._scenes or self._reader.has(split)

    def split(self, split: Split) -> Scene:
        """One split of the scene; read on the first call, kept afterwards."""
        if split not in self._scenes:
            scene = self._read(split)
            self._scenes[split] = scene if self._known is None else as_trained(scene, self._known)
        return self._scenes[split]

    def follow(self, known: SceneInfo) -> None:
        """Show all views in the box, between the distances and along the rays of a field's training from now on."""
        self._known = known
        self._scenes = {split: as_trained(scene, known) for split, scene in self._scenes.items()}

    @property
    def scene(self) -> Scene:
        """The training views in ``fit`` and ``predict``, the evaluated views in ``validate`` and ``test``.

        Box, bounds and NDC are those of the scene and the same in every split; camera and images are the split's.
        """
        return self.split(self._main)

    @property
    def background(self) -> Tensor:
        """(3,) colour in [0, 1] behind the scene when whole images are rendered."""
        return torch.zeros(3)

    def path_cameras(self, kind: PathKind, n_frames: int) -> Camera:
        """Cameras along a path for a video, one view per frame."""
        camera = self._reader.path(kind, n_frames)
        return camera if self._known is None else ray_camera(camera, self._known, self._reader.pixel_centers)

    def _read(self, split: Split) -> Scene:
        return self._reader.read(split)

    @property
    def _reader(self) -> SceneReader:
        if self.reader is None:
            raise NerfcompError("Real views are needed here: name the scene with --data.init_args.reader.")
        return self.reader
