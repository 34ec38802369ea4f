import re
from pathlib import Path

import numpy as np
import pytest

from nerfcomp.errors import VolumeError
from nerfcomp.readers import slabs, value_range
from nerfcomp.readers.volume import forget_pages


def test_slabs_cover_the_first_axis_once() -> None:
    parts = list(slabs((17, 3, 3), limit=1))
    assert [part.start for part in parts] == list(range(17)) and parts[-1].stop == 17


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_named_with_its_place(value: float) -> None:
    values = np.zeros((70, 300, 300), np.float32)
    values[66, 2, 1] = value
    with pytest.raises(VolumeError, match=rf"a\.npy holds the value {value} at voxel \(66, 2, 1\)"):
        value_range(values, "a.npy")


def test_range_of_integers() -> None:
    assert value_range(np.array([[[-3, 5]]], np.int16)) == (-3.0, 5.0)


def mapped_kilobytes() -> int:
    """What this process has in memory of files."""
    found = re.search(r"RssFile:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found
    return int(found[1])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux")
def test_walking_through_a_memory_map_keeps_none_of_it(tmp_path: Path) -> None:
    np.save(tmp_path / "large.npy", np.ones((64, 512, 1024), np.uint8))  # 32 MiB
    values = np.load(tmp_path / "large.npy", mmap_mode="r")
    before = mapped_kilobytes()
    assert int(values.max()) == 1 and mapped_kilobytes() - before > 2**14
    forget_pages(values[1:])
    assert mapped_kilobytes() - before < 2**13
    assert value_range(values) == (1.0, 1.0) and mapped_kilobytes() - before < 2**13


def test_arrays_in_memory_are_not_forgotten() -> None:
    values = np.ones((2, 3, 4))
    forget_pages(values[1:])
    assert values.sum() == 24
