import numpy as np
import pytest
from numpy.typing import NDArray

from nerfcomp.artifacts.nfc import decode_artifact
from nerfcomp.artifacts.volume import VolumeArtifact
from nerfcomp.artifacts.volume_info import VolumeInfo
from nerfcomp.codec import from_bytes, to_bytes
from nerfcomp.rate_control.targets import RateTarget, encode_for
from nerfcomp.rate_control.wavelets import Wavelets
from nerfcomp.readers import ProceduralVolume


def volume(dtype: str = "uint16", shape: tuple[int, int, int] = (37, 64, 21)) -> tuple[NDArray[np.generic], VolumeInfo]:
    values = ProceduralVolume(shape, dtype, finest=4.0, shells=1).read().values
    return values, VolumeInfo(shape, dtype, float(values.min()), float(values.max()))


def decoded(model: VolumeArtifact) -> tuple[int, NDArray[np.float64]]:
    data = to_bytes(encode_for(model, RateTarget()))
    found = decode_artifact(from_bytes(data), trust=True)
    assert isinstance(found, VolumeArtifact)
    again = to_bytes(encode_for(found, RateTarget()))
    assert again == data
    return len(data), found.values().astype(np.float64)


def psnr(values: NDArray[np.generic], found: NDArray[np.float64]) -> float:
    truth = values.astype(np.float64)
    return float(10 * np.log10(np.ptp(truth) ** 2 / np.mean((truth - found) ** 2)))


@pytest.mark.slow
@pytest.mark.parametrize("target", [400, 3000, 20000])
def test_files_use_the_bytes_that_they_may_have(target: int) -> None:
    values, info = volume()
    size, found = decoded(Wavelets(values, info).for_bytes(target))
    assert 0.97 * target < size <= target
    assert psnr(values, found) > {400: 20.0, 3000: 31.0, 20000: 45.0}[target]


@pytest.mark.slow
@pytest.mark.parametrize("aim", [25.0, 60.0])
@pytest.mark.parametrize("dtype", ["int16", "float64"])
def test_a_psnr_is_met_and_hardly_exceeded(aim: float, dtype: str) -> None:
    values, info = volume(dtype)
    _, found = decoded(Wavelets(values, info).for_psnr(aim))
    assert aim <= psnr(values, found) < aim + 0.1


def test_integers_come_back_exactly_where_bytes_allow_it() -> None:
    values, info = volume("uint8", (16, 12, 10))
    size, found = decoded(Wavelets(values, info).for_bytes(10**6))
    np.testing.assert_array_equal(found, values)
    assert size < 2 * values.nbytes


def test_the_smallest_file_that_is_possible_when_asked_for_less() -> None:
    values, info = volume()
    size, found = decoded(Wavelets(values, info).for_bytes(1))
    assert size < 300 and np.isfinite(found).all()


def test_a_spike_in_a_constant_volume() -> None:
    values = np.full((40, 30, 20), 7.0, np.float32)
    values[11, 12, 13] = 1e6
    size, found = decoded(Wavelets(values, VolumeInfo((40, 30, 20), "float32", 7.0, 1e6)).for_bytes(1000))
    assert size <= 1000 and psnr(values, found) > 80


def test_labels_come_back_exactly_through_interpolation() -> None:
    x, y, z = np.mgrid[:40, :30, :20]
    values = ((x - 20) ** 2 + (y - 12) ** 2 + (z - 9) ** 2 < 80).astype(np.uint8) * 3
    info = VolumeInfo((40, 30, 20), "uint8", 0.0, 3.0)
    size, found = decoded(Wavelets(values, info, "interpolation").for_bytes(1200))
    np.testing.assert_array_equal(found, values)
    assert size <= 1200 and psnr(values, decoded(Wavelets(values, info).for_bytes(1200))[1]) < 60


@pytest.mark.slow
@pytest.mark.parametrize("target", [400, 3000])
def test_ctrl_c_keeps_the_best_try(target: int, monkeypatch: pytest.MonkeyPatch) -> None:
    values, info = volume()
    shares = list[float]()
    whole = Wavelets(values, info, on_try=shares.append)
    whole.for_bytes(target)
    assert 0.97 < max(share for share in shares if share <= 1) and not whole.stopped
    make = Wavelets.at_step
    for last in range(len(shares)):
        tried = list[float]()

        def at_step(self: Wavelets, step: float) -> VolumeArtifact:
            if len(tried) == last:
                raise KeyboardInterrupt
            return make(self, step)

        monkeypatch.setattr(Wavelets, "at_step", at_step)
        coder = Wavelets(values, info, on_try=tried.append)
        if not any(share <= 1 for share in shares[:last]):
            with pytest.raises(KeyboardInterrupt):
                coder.for_bytes(target)
            continue
        model = coder.for_bytes(target)
        assert coder.stopped and tried == shares[:last]
        assert Wavelets.file_bytes(model) / target == max(share for share in tried if share <= 1)
