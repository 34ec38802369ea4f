import numpy as np
import pytest

from nerfcomp.errors import VolumeError
from nerfcomp.readers import slabs, value_range


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
