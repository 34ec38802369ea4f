from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torchmetrics.functional.image import peak_signal_noise_ratio

from nerfcomp.errors import VolumeError
from nerfcomp.evaluation.volume_plot import RatePoint, plot_errors, plot_rates, plot_slices
from nerfcomp.evaluation.volumes import error_histogram, file_ratio, volume_quality
from nerfcomp.readers import ProceduralVolume, ValueRange


def pair(dtype: str = "float32") -> tuple[NDArray[Any], NDArray[Any]]:
    truth = ProceduralVolume((23, 20, 17), dtype).read().values
    noise = np.random.default_rng(0).normal(size=truth.shape) * 0.05 * (float(truth.max()) - float(truth.min()))
    return truth, (truth + noise).astype(dtype) if dtype == "float32" else np.clip(truth + noise, 0, 255).astype(dtype)


def ssim_of_paper(truth: NDArray[Any], decoded: NDArray[Any]) -> float:
    """Weighted means, variances and covariance of every window, as Wang et al. define them, one window at a time."""
    span = float(truth.max()) - float(truth.min())
    bell = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    weights = bell[:, None, None] * bell[:, None] * bell
    weights /= weights.sum()
    shifted = [values.astype(np.float64) - float(truth.min()) for values in (truth, decoded)]
    similarities = []
    for x, y in zip(*(np.lib.stride_tricks.sliding_window_view(v, (11,) * 3).reshape(-1, 11, 11, 11) for v in shifted)):
        mean_x, mean_y = (weights * x).sum(), (weights * y).sum()
        variances = (weights * (x - mean_x) ** 2).sum() + (weights * (y - mean_y) ** 2).sum()
        covariance = (weights * (x - mean_x) * (y - mean_y)).sum()
        c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
        above = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
        similarities.append(above / ((mean_x**2 + mean_y**2 + c1) * (variances + c2)))
    return float(np.mean(similarities))


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
@pytest.mark.parametrize("slab", [1, 5, 100])
def test_agrees_with_others_whatever_the_slabs(slab: int, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nerfcomp.readers.volume.slabs.__defaults__", (slab * 20 * 17 * 8,))
    monkeypatch.setattr("nerfcomp.readers.volume.stored_slabs.__defaults__", (slab * 20 * 17 * 8,))
    monkeypatch.setattr("nerfcomp.evaluation.volumes.SLAB_BYTES", 4 * slab * 20 * 17 * 8)  # of blocks of SSIM
    truth, decoded = pair(dtype)
    found = volume_quality(truth, decoded)
    first, second = (torch.from_numpy(values.astype(np.float64))[None, None] for values in (truth, decoded))
    span = float(first.max() - first.min())
    assert found.psnr == pytest.approx(float(peak_signal_noise_ratio(second, first, data_range=span)), abs=1e-5)
    assert found.ssim == pytest.approx(ssim_of_paper(truth, decoded), abs=1e-9) and found.ssim < 0.99
    assert found.largest == pytest.approx(float((first - second).abs().max()))
    assert found.mean == pytest.approx(float((first - second).abs().mean()))


def test_equal_volumes_have_no_error() -> None:
    truth, _ = pair()
    found = volume_quality(truth, truth.copy())
    assert found.psnr == np.inf and found.ssim == pytest.approx(1.0) and found.largest == 0.0


def test_unsigned_values_do_not_wrap_around() -> None:
    truth = np.zeros((3, 3, 3), np.uint8)
    truth[0] = 255
    decoded = 255 - truth
    assert volume_quality(truth, decoded).psnr == pytest.approx(0.0)
    assert error_histogram(truth, decoded, 255.0, bins=2).counts.tolist() == [9, 18]


def test_shapes_must_agree() -> None:
    with pytest.raises(VolumeError, match="shape"):
        volume_quality(np.zeros((3, 3, 3)), np.zeros((3, 3, 4)))


def test_every_voxel_is_in_the_histogram() -> None:
    truth, decoded = pair()
    assert error_histogram(truth, decoded, 1e-3).counts.sum() == truth.size


def test_ratios_count_the_whole_file() -> None:
    assert file_ratio(np.zeros((8, 8, 8), np.uint16), 64) == (16.0, 32.0)


@pytest.mark.slow
def test_pictures(tmp_path: Path) -> None:
    truth, decoded = pair()
    plot_slices(truth, decoded, ValueRange(-1.0, 1.0), tmp_path / "slices.png")
    plot_errors(error_histogram(truth, decoded, 0.1), tmp_path / "errors.png")
    plot_rates({"a": {"sperr": [RatePoint(10.0, 40.0), RatePoint(100.0, 30.0)]}}, tmp_path / "rates.png")
    assert all((tmp_path / f"{name}.png").stat().st_size > 5000 for name in ("slices", "errors", "rates"))
