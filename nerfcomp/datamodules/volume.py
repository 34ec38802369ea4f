"""A volume as training data: random points, and slabs to measure the result on."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from lightning import LightningDataModule
from lightning_utilities.core.apply_func import apply_to_collection
from numpy.typing import NDArray

from nerfcomp.artifacts.volume_info import VolumeInfo
from nerfcomp.datamodules.volume_loader import BlockErrors, RandomVoxelLoader, forget_pages
from nerfcomp.descriptions import require_between
from nerfcomp.devices import sent
from nerfcomp.errors import NerfcompError
from nerfcomp.geometry.lattice import VolumeBatch, VolumeSlab
from nerfcomp.readers import Volume, VolumeReader, value_range

_SLAB_VOXELS = 2**20


class SlabLoader:
    """All layers of a volume, or evenly spread ones, in slabs; every R-th slab on each of R ranks.

    Args:
        values: (X, Y, Z) array or memory map.
        most_voxels: About so many voxels in all, evenly spread; all when absent.
        rank: Of this process.
        world_size: Number of processes.
    """

    def __init__(
        self, values: NDArray[Any], most_voxels: int | None = None, rank: int = 0, world_size: int = 1
    ) -> None:
        plane = int(np.prod(values.shape[1:]))
        layers = max(1, _SLAB_VOXELS // plane)
        starts = list(range(0, len(values), layers))
        every = 1 if most_voxels is None else max(1, values.size // most_voxels)
        self.values, self.layers = values, layers
        self._starts = starts[every // 2 :: every] or starts[:1]
        self._rank, self._world_size = rank, world_size

    def __len__(self) -> int:
        return -(-len(self._starts) // self._world_size)

    def __iter__(self) -> Iterator[VolumeSlab]:
        for index in range(self._rank, len(self) * self._world_size, self._world_size):
            start = self._starts[index] if index < len(self._starts) else len(self.values)
            yield VolumeSlab(start, np.array(self.values[start : start + self.layers]))
            forget_pages(self.values)


class VolumeDataModule(LightningDataModule):
    """Random points of a volume for training; its layers for validation and test.

    Args:
        reader: Reads the volume.
        batch_size: Points per process and step.
        importance: Share of the points that go where the error is, in [0, 1).
        continuous: Train on points between voxels, too, with interpolated values.
        memory_bytes: Most bytes of values held while training; of larger volumes some slabs at a time are read.
        val_voxels: Voxels that a validation looks at, evenly spread slabs; all when absent. Test looks at all.
        seed: Of the draws.
        steps_per_epoch: Steps that Lightning counts as an epoch.

    Raises:
        ValueError: A size is not positive, or the importance not in [0, 1).
    """

    def __init__(
        self,
        reader: VolumeReader,
        batch_size: int = 2**17,
        importance: float = 0.8,
        continuous: bool = False,
        memory_bytes: int = 2**28,
        val_voxels: int | None = 2**22,
        seed: int = 0,
        steps_per_epoch: int = 500,
    ) -> None:
        super().__init__()
        require_between(0, seed=seed)
        if min(batch_size, memory_bytes, val_voxels or 1, steps_per_epoch) < 1 or not 0 <= importance < 1:
            raise ValueError(
                f"VolumeDataModule needs positive sizes and an importance in [0, 1), got batch_size={batch_size}, "
                f"memory_bytes={memory_bytes}, val_voxels={val_voxels}, steps_per_epoch={steps_per_epoch} and "
                f"importance={importance}."
            )
        self.reader, self.batch_size, self.importance, self.continuous = reader, batch_size, importance, continuous
        self.memory_bytes, self.val_voxels, self.seed, self.steps = memory_bytes, val_voxels, seed, steps_per_epoch
        self._volume: Volume | None = None
        self._info: VolumeInfo | None = None
        self._errors: BlockErrors | None = None

    def setup(self, stage: str) -> None:
        """Read the volume and its range, once."""
        if self._volume is None:
            volume = self.reader.read()
            low, high = value_range(volume.values, volume.name)
            forget_pages(volume.values)
            x, y, z = volume.values.shape
            self._info = VolumeInfo(
                (x, y, z), volume.values.dtype.name, low, high, volume.spacing, volume.origin, volume.name
            )
            self._errors = BlockErrors(volume.values.shape)
            self._volume = volume

    @property
    def info(self) -> VolumeInfo:
        """The volume without its values."""
        self.setup("fit")
        assert self._info is not None
        return self._info

    @property
    def volume(self) -> Volume:
        """The volume."""
        self.setup("fit")
        assert self._volume is not None
        return self._volume

    @property
    def errors(self) -> BlockErrors:
        """Error of every block, as far as training has noted it."""
        self.setup("fit")
        assert self._errors is not None
        return self._errors

    def note_errors(self, batch: VolumeBatch, squares: torch.Tensor) -> None:
        """Let the points of further steps go where these squared errors (M,) are large."""
        if self.importance > 0:
            self.errors.note(batch.blocks, squares)

    def train_dataloader(self) -> RandomVoxelLoader:
        """Random points, without end."""
        trainer = self.trainer
        if trainer is None:
            raise NerfcompError("A VolumeDataModule draws batches for a trainer; give it to Trainer.fit.")
        return RandomVoxelLoader(
            self.volume.values,
            self.info,
            self.errors,
            self.batch_size,
            self.steps,
            lambda: trainer.fit_loop.total_batch_idx + 1 if trainer.fit_loop.total_batch_idx >= 0 else 0,
            self.importance,
            self.continuous,
            self.memory_bytes,
            self.seed,
            trainer.global_rank,
            trainer.world_size,
        )

    def val_dataloader(self) -> SlabLoader:
        """Some slabs."""
        return self._slabs(self.val_voxels)

    def test_dataloader(self) -> SlabLoader:
        """All slabs."""
        return self._slabs(None)

    def state_dict(self) -> dict[str, Any]:
        """Errors, on which further draws depend."""
        return self.errors.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the errors over, where they are those of a volume of this shape."""
        self.errors.load_state_dict(state_dict)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Copy a batch to the device; the program goes on while a GPU still works on what came before."""
        return apply_to_collection(batch, torch.Tensor, sent, device)

    def _slabs(self, most_voxels: int | None) -> SlabLoader:
        trainer = self.trainer
        rank, size = (0, 1) if trainer is None else (trainer.global_rank, trainer.world_size)
        return SlabLoader(self.volume.values, most_voxels, rank, size)
