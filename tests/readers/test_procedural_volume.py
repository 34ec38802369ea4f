from pathlib import Path

import numpy as np
import pytest

from nerfcomp.errors import VolumeError
from nerfcomp.readers import ProceduralVolume


def test_values_follow_from_the_seed() -> None:
    first, again, other = (ProceduralVolume((12, 9, 7), seed=seed).read().values for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "int64", "uint64", "float16", "float64"])
def test_any_type_uses_its_range(dtype: str) -> None:
    values = ProceduralVolume((24, 20, 16), dtype).read().values
    assert values.dtype == dtype
    span = float(values.max()) - float(values.min())
    assert span > (1.2 if values.dtype.kind == "f" else 0.6 * min(2.0 ** (8 * values.itemsize), 65536))


def test_slabs_on_disk_are_the_volume_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = ProceduralVolume((11, 6, 5), "uint16")
    whole = recipe.read()
    monkeypatch.setattr("nerfcomp.readers.volume.slabs.__defaults__", (3 * 6 * 5 * 8,))
    volume = recipe.write(tmp_path / "a.npy")
    assert isinstance(volume.values, np.memmap)
    np.testing.assert_array_equal(volume.values, whole.values)


def test_waves_stop_at_the_finest() -> None:
    values = ProceduralVolume((64, 64, 64), seed=1, finest=4.0, shells=0).read().values
    window = np.hanning(64)
    windowed = np.arctanh(values) * window[:, None, None] * window[:, None] * window
    power = np.abs(np.fft.fftn(windowed)) ** 2
    numbers = np.linalg.norm(np.stack(np.meshgrid(*[np.fft.fftfreq(64, 1 / 64)] * 3, indexing="ij")), axis=0)
    assert power[numbers > 7.0].sum() < 1e-3 * power.sum()


def test_impossible_requests_are_refused() -> None:
    with pytest.raises(VolumeError, match="three positive"):
        ProceduralVolume((4, 0, 4))
    with pytest.raises(VolumeError, match="integers or floats"):
        ProceduralVolume((4, 4, 4), "complex64")
