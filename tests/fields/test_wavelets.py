from typing import get_args

import pytest
import torch

from nerfcomp.fields.wavelets import Border, Wavelet, along_axes, compose, decompose, max_level, synthesis

pywt = pytest.importorskip("pywt")
MODES = {"zero": "zero", "periodic": "periodization"}


@pytest.mark.parametrize("wavelet", get_args(Wavelet))
def test_levels_are_those_of_pywt(wavelet: Wavelet) -> None:
    taps = pywt.Wavelet(wavelet).dec_len
    assert [max_level(n, wavelet) for n in range(1, 70)] == [pywt.dwt_max_level(n, taps) for n in range(1, 70)]


@pytest.mark.parametrize("wavelet", get_args(Wavelet))
@pytest.mark.parametrize(("border", "size"), [("zero", 15), ("zero", 8), ("periodic", 16), ("periodic", 6)])
def test_one_level_is_that_of_pywt(wavelet: Wavelet, border: Border, size: int) -> None:
    samples = torch.rand(size, generator=torch.Generator().manual_seed(0))
    low, high = pywt.dwt(samples.double().numpy(), wavelet, MODES[border])
    matrix, length = synthesis(size, wavelet, border)
    found = matrix.t() @ samples
    assert length == len(low)
    torch.testing.assert_close(found, torch.cat([torch.from_numpy(low), torch.from_numpy(high)]).float())


@pytest.mark.parametrize("wavelet", get_args(Wavelet))
def test_bands_in_three_dimensions_are_those_of_pywt(wavelet: Wavelet) -> None:
    grid = torch.rand(1, 13, 13, 13, generator=torch.Generator().manual_seed(1))
    expected = pywt.wavedecn(grid[0].double().numpy(), wavelet, "zero", level=max_level(13, wavelet))
    bands = decompose(grid, wavelet, "zero")
    torch.testing.assert_close(bands[0][0], torch.from_numpy(expected[0]).float())
    order = ("aad", "ada", "add", "daa", "dad", "dda", "ddd")
    for found, wanted in zip(bands[1:], expected[1:]):
        torch.testing.assert_close(found[0], torch.stack([torch.from_numpy(wanted[key]) for key in order]).float())


@pytest.mark.parametrize("wavelet", get_args(Wavelet))
@pytest.mark.parametrize("border", get_args(Border))
@pytest.mark.parametrize("size", [3, 15, 16, 17])
def test_composing_undoes_decomposing(wavelet: Wavelet, border: Border, size: int) -> None:
    grid = torch.rand(2, size, size, size, generator=torch.Generator().manual_seed(2))
    bands = decompose(grid, wavelet, border)
    torch.testing.assert_close(compose(bands, size, wavelet, border), grid)
    if border == "periodic":
        assert sum(band.numel() for band in bands) == grid.numel()
        torch.testing.assert_close(bands[0].square().sum(), grid.square().sum())  # orthonormal


def test_padded_bands_have_the_sizes_of_the_published_networks() -> None:
    bands = decompose(torch.zeros(1, 15, 15, 15), "db2", "zero")
    assert sum(band.numel() for band in bands) == 6831
    assert sum(band.numel() for band in decompose(torch.zeros(1, 15, 15, 15), "db4", "zero")) == 10648


def test_axes_are_multiplied_one_by_one() -> None:
    matrix, cube = torch.rand(2, 3), torch.rand(2, 3, 3, 3)
    torch.testing.assert_close(
        along_axes(matrix, cube), torch.einsum("xi,yj,zk,cijk->cxyz", matrix, matrix, matrix, cube)
    )


def test_unknown_wavelets_are_named() -> None:
    with pytest.raises(ValueError, match="haar, db2, db4"):
        synthesis(4, "db3", "zero")  # type: ignore[arg-type]
