from pathlib import Path

import numpy as np
import pytest

from nerfcomp.evaluation.volume_plot import middle_slice
from tests.readers.test_volume import mapped_kilobytes


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_are_thinned_and_whole(axis: int) -> None:
    values = np.random.default_rng(0).integers(0, 255, (150, 900, 4), np.uint8)
    every = 1 if axis == 1 else 2
    assert np.array_equal(middle_slice(values, axis), values.take(values.shape[axis] // 2, axis)[::every, ::every])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux")
def test_a_slice_through_all_pages_keeps_none_of_them(tmp_path: Path) -> None:
    np.save(tmp_path / "large.npy", np.ones((256, 128, 1024), np.uint8))  # 32 MiB, four rows of a slice on a page
    values = np.load(tmp_path / "large.npy", mmap_mode="r")
    before = mapped_kilobytes()
    assert middle_slice(values, 2).sum() == 256 * 128 and mapped_kilobytes() - before < 2**13
