from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nerfcomp.artifacts.volume_info import VolumeInfo
from nerfcomp.datamodules.volume import SlabLoader
from nerfcomp.datamodules.volume_loader import BlockErrors, RandomVoxelLoader
from nerfcomp.geometry.lattice import VolumeBatch

SHAPE = (20, 17, 9)


def volume() -> np.ndarray:
    values: np.ndarray = np.random.default_rng(0).integers(0, 256, SHAPE).astype(np.uint8)
    return values


def loader(values: np.ndarray, errors: BlockErrors | None = None, **options: Any) -> RandomVoxelLoader:
    info = VolumeInfo(SHAPE, "uint8", 0.0, 255.0)
    settings = {"batch_size": 4000, "length": 1, "next_step": lambda: 0, **options}
    return RandomVoxelLoader(values, info, errors or BlockErrors(SHAPE), **settings)


def voxels(batch: VolumeBatch) -> np.ndarray:
    """Voxel coordinates of the points of a batch."""
    found: np.ndarray = batch.x.double().numpy() * (max(SHAPE) - 1) / 2 + (np.array(SHAPE) - 1) / 2
    return found


@pytest.mark.parametrize("memory", [2**20, 17 * 9 * 8])
def test_values_are_those_of_the_voxels(memory: int) -> None:
    values = volume()
    batch = loader(values, memory_bytes=memory).draw(3)
    index = np.rint(voxels(batch)).astype(int)
    np.testing.assert_allclose(voxels(batch), index, atol=1e-4)
    np.testing.assert_allclose(batch.values.numpy(), values[tuple(index.T)] / 127.5 - 1, atol=1e-5)


def test_values_between_voxels_are_interpolated() -> None:
    x, y, z = np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij")
    values = (x + 2 * y + 3 * z).astype(np.uint8)  # linear, so that interpolation is exact
    for memory in (2**20, 17 * 9 * 8):
        batch = loader(values, continuous=True, memory_bytes=memory).draw(0)
        at = voxels(batch)
        np.testing.assert_allclose((batch.values.numpy() + 1) * 127.5, at @ [1, 2, 3], atol=1e-3)
        assert np.abs(at - np.rint(at)).max() > 0.3


def test_weights_make_the_mean_that_of_all_voxels() -> None:
    values, errors = volume(), BlockErrors(SHAPE)
    errors.mean[:] = np.random.default_rng(1).random(len(errors.mean)) ** 4
    draws = [loader(values, errors).draw(step) for step in range(30, 60)]
    mean = np.mean([float((d.weights * d.values).mean()) for d in draws])
    assert mean == pytest.approx((values / 127.5 - 1).mean(), abs=0.01)
    assert np.mean([float(d.weights.mean()) for d in draws]) == pytest.approx(1.0, abs=0.01)
    counts = np.bincount(torch.cat([d.blocks for d in draws]).numpy(), minlength=len(errors.mean))
    assert np.corrcoef(counts, np.sqrt(errors.mean))[0, 1] > 0.99


def test_ranks_share_a_batch_and_no_draw() -> None:
    values = volume()
    alone = loader(values, batch_size=200).draw(7)
    pair = [loader(values, batch_size=100, rank=rank, world_size=2).draw(7) for rank in range(2)]
    for rank, batch in enumerate(pair):
        assert torch.equal(batch.x, alone.x[rank::2]) and torch.equal(batch.values, alone.values[rank::2])


def test_ranks_of_a_large_volume_hold_different_slabs() -> None:
    few: dict[str, Any] = {"memory_bytes": 17 * 9 * 8, "world_size": 2, "batch_size": 50}
    held = []
    for rank in range(2):
        part = loader(volume(), rank=rank, **few)
        part.draw(0)
        held.append(set(part.slabs.tolist()))
        assert part._memory.nbytes <= few["memory_bytes"]
    assert held[0] and held[1] and not held[0] & held[1]


def test_slabs_change_and_cover_the_volume() -> None:
    part = loader(volume(), memory_bytes=17 * 9 * 8)
    seen = set()
    for step in range(0, 32 * 20, 32):
        part.draw(step)
        seen |= set(part.slabs.tolist())
    assert seen == {0, 1, 2}


def test_a_batch_depends_on_its_step_alone() -> None:
    first, second = loader(volume()), loader(volume())
    second.draw(1)
    assert torch.equal(first.draw(5).x, second.draw(5).x)
    assert not torch.equal(first.draw(5).x, first.draw(6).x)


def test_errors_follow_what_is_noted() -> None:
    errors = BlockErrors(SHAPE)
    for _ in range(40):
        errors.note(torch.tensor([2] * 64), torch.full((64,), 0.25))
    assert errors.mean[2] == pytest.approx(0.25, abs=1e-6) and errors.mean[0] == 1.0


def test_errors_are_running_means_over_the_points_of_a_block() -> None:
    errors, generator = BlockErrors(SHAPE), np.random.default_rng(0)
    expected = np.ones(len(errors.mean))
    for _ in range(5):
        blocks, squares = generator.integers(len(expected) - 1, size=90), generator.random(90)
        errors.note(torch.from_numpy(blocks), torch.from_numpy(squares))
        for block in set(blocks):
            here = squares[blocks == block]
            expected[block] += (here.mean() - expected[block]) * min(0.5, len(here) / 64)
    np.testing.assert_allclose(errors.mean, expected, rtol=1e-12)
    assert errors.mean[-1] == 1.0  # no point was there


def test_what_a_gpu_knows_survives_a_checkpoint() -> None:
    errors, gpu = BlockErrors(SHAPE), torch.full((len(BlockErrors(SHAPE).mean),), 0.5, dtype=torch.float64)
    errors.load_state_dict({"errors": torch.ones_like(gpu), "newest": gpu, "noted": 49})
    assert errors.mean.max() == 1.0  # what the host has not looked at
    errors.note(torch.tensor([0]), torch.tensor([0.5]))
    assert np.all(errors.mean == 0.5) and errors.noted == 50


def test_slabs_of_all_ranks_are_the_volume(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", volume())
    values = np.load(tmp_path / "v.npy", mmap_mode="r")
    layers: dict[int, np.ndarray] = {}
    for rank in range(2):
        slabs = SlabLoader(values, rank=rank, world_size=2)
        slabs.layers, slabs._starts = 6, list(range(0, 20, 6))
        layers |= {slab.start: slab.values for slab in slabs}
    np.testing.assert_array_equal(np.concatenate([layers[start] for start in sorted(layers)]), volume())
