"""Random points of a volume, drawn towards error, from memory that holds a few slabs at most.

Notation: a *block* is a cube of ``edge`` voxels, a *slab* a layer of blocks along x. Points are drawn block by block:
a share of them evenly, the rest in proportion to the root mean square error of each block; the weight of a point makes
up for that, so that the expected loss is the mean over all voxels.
"""

import logging
import math
import mmap
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nerfcomp.artifacts.volume_info import VolumeInfo
from nerfcomp.devices import sent
from nerfcomp.geometry.lattice import VolumeBatch, lattice_positions
from nerfcomp.process import in_group

logger = logging.getLogger(__name__)
_BLOCKS = 32  # along the longest axis, at most
_LEAST_EDGE = 8
_ROTATION = 32  # steps after which a rank that cannot hold its slabs reads others
_LOOK = 50  # steps of a GPU after which the host looks at the errors
_START = 20  # steps before which errors are not known


class BlockErrors:
    """Running mean squared error of every block; the same on all ranks.

    It runs on where the errors are. Points are drawn in host memory, which looks at it after every step of a CPU, and
    after every 50th of anything else, so that other steps do not wait.

    Args:
        shape: Voxels of the volume.

    Attributes:
        mean: (blocks,) what the host knows.
        newest: (blocks,) float64, on the device that trains.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.edge = max(_LEAST_EDGE, -(-max(shape) // _BLOCKS))
        self.counts = tuple(-(-n // self.edge) for n in shape)
        self.mean = np.ones(int(np.prod(self.counts)))
        self.newest = torch.ones(len(self.mean), dtype=torch.float64)
        self.noted = 0

    def note(self, blocks: Tensor, squares: Tensor) -> None:
        """Take over squared errors (M,) of points of blocks (M,), of all processes."""
        self.newest = sent(self.newest, squares.device)
        sums = self.newest.new_zeros(2, len(self.newest))
        sums[0].index_add_(0, blocks, squares.double())
        sums[1].index_add_(0, blocks, torch.ones_like(squares, dtype=torch.float64))
        if in_group():
            torch.distributed.all_reduce(sums)
        total, count = sums
        rate = (count / 64).clamp(max=0.5)  # 0 where no point was
        self.newest += (total / count.clamp(min=1) - self.newest) * rate
        self.noted += 1
        if squares.device.type == "cpu" or self.noted % _LOOK == 0:
            self.mean[:] = self.newest.cpu().numpy()

    def state_dict(self) -> dict[str, Any]:
        """What further draws depend on."""
        state = {"errors": torch.from_numpy(self.mean.copy())}
        return (
            state if self.newest.device.type == "cpu" else {**state, "newest": self.newest.cpu(), "noted": self.noted}
        )

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take the errors over, where they are those of a volume of this shape."""
        mean, newest = state["errors"].double(), state.get("newest", state["errors"]).double()
        if all(each.shape == self.mean.shape and math.isfinite(float(each.sum())) for each in (mean, newest)):
            self.mean[:], self.newest, self.noted = mean.numpy(), newest.clone(), int(state.get("noted", 0))


class RandomVoxelLoader:
    """Batches of random points; batch s depends on the seed, s and the errors noted before.

    A step draws one global batch, of which rank r keeps every R-th point. Where the volume does not fit into
    ``memory_bytes``, each rank holds some slabs of its own, drawn anew every few steps, and draws from these alone.

    Args:
        values: (X, Y, Z) array or memory map.
        info: The volume.
        errors: Of its blocks.
        batch_size: Points per process and step.
        length: Steps per epoch; the iterator itself never ends.
        next_step: Tells the number of the step that the next batch is for.
        importance: Share of the points that go towards error, in [0, 1).
        continuous: Draw points between voxels, too, with interpolated values.
        memory_bytes: Most bytes of values that are held.
        seed: Of the draws.
        rank: Of this process.
        world_size: Number of processes.
    """

    def __init__(
        self,
        values: NDArray[Any],
        info: VolumeInfo,
        errors: BlockErrors,
        batch_size: int,
        length: int,
        next_step: Callable[[], int],
        importance: float = 0.8,
        continuous: bool = False,
        memory_bytes: int = 2**28,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.values, self.info, self.errors = values, info, errors
        self.batch_size, self.length, self.next_step = batch_size, length, next_step
        self.importance, self.continuous, self.seed = importance, continuous, seed
        self.rank, self.world_size = rank, world_size
        self.whole = values.nbytes <= memory_bytes
        slab = values[:1].nbytes * errors.edge
        self.held = (
            errors.counts[0] if self.whole else max(1, min(errors.counts[0] // world_size, memory_bytes // slab))
        )
        self._draw = -1
        self.slabs = np.arange(errors.counts[0])
        self._memory: NDArray[Any] = np.ascontiguousarray(values) if self.whole else np.empty(0)

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[VolumeBatch]:
        while True:
            yield self.draw(self.next_step())

    def state_dict(self) -> dict[str, Any]:
        """What the draws depend on, besides the step and the errors."""
        return {"seed": self.seed, "points_per_step": self.batch_size * self.world_size}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Warn when a resumed run will not draw what the interrupted one would have drawn."""
        if state != self.state_dict() and self.rank == 0:
            logger.warning(
                "The resumed run draws other points: it has %s, was started with %s.", self.state_dict(), state
            )

    def draw(self, step: int) -> VolumeBatch:
        """The batch of this rank at a step."""
        if not self.whole:
            self._hold(step // _ROTATION)
        shares = self._shares(step)
        key = (self.seed, step) if self.whole else (self.seed, step, self.rank)
        generator = np.random.default_rng(key)
        total = self.batch_size * (self.world_size if self.whole else 1)
        mine = slice(self.rank, None, self.world_size) if self.whole else slice(None)
        heights = np.cumsum(shares)
        draws = (np.arange(total)[mine] + generator.random()) * (heights[-1] / total)
        local = np.searchsorted(heights, draws).clip(0, len(shares) - 1)
        offsets = generator.integers(self.errors.edge**3, size=total)[mine]
        voxels, rows = self._voxels(local, offsets)
        weights = self._voxel_shares()[local] / shares[local]
        if not self.continuous:
            values = self._memory[rows, voxels[:, 1], voxels[:, 2]]
            points = torch.from_numpy(voxels)
        else:
            fractions = generator.random((total, 3))[mine]
            points, values = self._between(voxels, rows, fractions)
        return VolumeBatch(
            lattice_positions(points, self.info.shape),
            torch.from_numpy(self.info.normalised(values)),
            torch.from_numpy(weights.astype(np.float32)),
            torch.from_numpy(self._blocks(local)),
        )

    def _hold(self, draw: int) -> None:
        """Read the slabs of one draw, unless they are there."""
        if draw == self._draw:
            return
        self._draw = draw
        order = np.random.default_rng((self.seed, draw)).permutation(self.errors.counts[0])
        self.slabs = np.sort(order[self.rank :: self.world_size][: self.held])
        edge = self.errors.edge
        ends: list[NDArray[np.int64]] = [
            np.arange(slab * edge, min((slab + 1) * edge, self.info.shape[0])) for slab in self.slabs
        ]
        self._memory = np.zeros((len(ends) * edge, *self.info.shape[1:]), self.values.dtype)
        for place, layers in enumerate(ends):
            self._memory[place * edge : place * edge + len(layers)] = self.values[layers[0] : layers[-1] + 1]
        forget_pages(self.values)

    def _shares(self, step: int) -> NDArray[np.float64]:
        """Share of the points that each block that is held gets; they add up to 1."""
        per_slab = self.errors.counts[1] * self.errors.counts[2]
        even = np.full(len(self.slabs) * per_slab, 1.0 / (len(self.slabs) * per_slab))
        if step < _START or self.importance == 0:
            return even
        size: NDArray[np.float64] = (
            np.sqrt(self.errors.mean.reshape(self.errors.counts[0], per_slab)[self.slabs].reshape(-1)) + 1e-9
        )
        shares: NDArray[np.float64] = (1 - self.importance) * even + self.importance * size / size.sum()
        return shares

    def _voxel_shares(self) -> NDArray[np.float64]:
        """Share of the held voxels that lie in each block."""
        edge, counts = self.errors.edge, self.errors.counts
        x, y, z = (np.minimum(n - np.arange(c) * edge, edge) for n, c in zip(self.info.shape, counts))
        sizes = (x[self.slabs][:, None, None] * y[:, None] * z).reshape(-1).astype(np.float64)
        shares: NDArray[np.float64] = sizes / sizes.sum()
        return shares

    def _blocks(self, local: NDArray[np.int64]) -> NDArray[np.int64]:
        """Blocks of the volume by their places among those that are held."""
        per_slab = self.errors.counts[1] * self.errors.counts[2]
        blocks: NDArray[np.int64] = self.slabs[local // per_slab] * per_slab + local % per_slab
        return blocks

    def _voxels(
        self, local: NDArray[np.int64], offsets: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Voxels (M, 3) of the volume, and their layers (M,) in memory; blocks that stick out are cut off."""
        edge, (_, rows, columns) = self.errors.edge, self.errors.counts
        place, rest = local // (rows * columns), local % (rows * columns)
        inside = np.stack([offsets // edge**2, offsets // edge % edge, offsets % edge], axis=1)
        corner = np.stack([self.slabs[place], rest // columns, rest % columns], axis=1) * edge
        size = np.minimum(np.array(self.info.shape) - corner, edge)
        inside = inside * size // edge
        return corner + inside, (corner[:, 0] if self.whole else place * edge) + inside[:, 0]

    def _between(
        self, voxels: NDArray[np.int64], rows: NDArray[np.int64], fractions: NDArray[np.float64]
    ) -> tuple[Tensor, NDArray[np.float64]]:
        """Points (M, 3) beyond voxels by fractions of a spacing, and values interpolated there; inside what is held."""
        edge = self.errors.edge
        last = np.array(self.info.shape) - 1
        ends_slab = (voxels[:, 0] == last[0]) if self.whole else (voxels[:, 0] % edge == edge - 1)
        fractions = np.where(voxels == last, 0.0, fractions)
        fractions[ends_slab, 0] = 0.0
        values = np.zeros(len(voxels))
        for corner in np.ndindex(2, 2, 2):
            share = np.where(corner, fractions, 1 - fractions).prod(axis=1)
            y, z = (np.minimum(voxels[:, axis] + corner[axis], last[axis]) for axis in (1, 2))
            x = np.minimum(rows + corner[0], len(self._memory) - 1)
            values += share * self._memory[x, y, z]
        return torch.from_numpy(voxels + fractions), values


def forget_pages(values: NDArray[Any]) -> None:
    """Let the system take back the pages of a memory map that have been read; nothing for other arrays."""
    base: Any = values
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        base.madvise(mmap.MADV_DONTNEED)
