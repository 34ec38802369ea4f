import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from nerfcomp.fields import WaveletVolume
from nerfcomp.geometry.lattice import lattice_positions
from nerfcomp.kernels.lifting import analyse

SHAPE = (12, 9, 5)


TRUTH = np.random.default_rng(0).uniform(-1, 1, SHAPE).astype(np.float32)


@pytest.fixture()
def field() -> WaveletVolume:
    field = WaveletVolume(SHAPE, 2.0**-16)
    field.take_exact_tensors({"levels": torch.from_numpy(np.rint(analyse(TRUTH) * 2**16).astype(np.int32))})
    return field


def test_voxels_are_met_exactly(field: WaveletVolume) -> None:
    index = torch.cartesian_prod(*(torch.arange(n) for n in SHAPE))
    with torch.no_grad():
        values = field(lattice_positions(index, SHAPE)).reshape(SHAPE)
    np.testing.assert_allclose(values, TRUTH, atol=1e-4)
    np.testing.assert_array_equal(values, field.values())


def test_between_voxels_values_are_interpolated_with_gradients(field: WaveletVolume) -> None:
    index = torch.rand(50, 3, generator=torch.Generator().manual_seed(1)) * (torch.tensor(SHAPE) - 1)
    x = lattice_positions(index, SHAPE)
    expected = map_coordinates(field.values().numpy().astype(np.float64), index.double().numpy().T, order=1)
    np.testing.assert_allclose(field(x).numpy(), expected, atol=2e-5)
    small = 1e-3
    for axis in range(3):
        step = small * torch.eye(3)[axis]
        slope = (field(x + step) - field(x - step)) / (2 * small)
        inside = ((index[:, axis] % 1) > 0.05) & ((index[:, axis] % 1) < 0.95)
        torch.testing.assert_close(field.gradients(x)[inside, axis], slope[inside], atol=2e-2, rtol=1e-2)


@pytest.mark.parametrize(
    "arguments",
    [
        {"shape": (0, 1, 1), "step": 1.0},
        {"shape": (2**10, 2**10, 2**10), "step": 1.0},
        {"shape": SHAPE, "step": 0.0},
        {"shape": SHAPE, "step": 1.0, "centroids": (0.0, 5.0, 0.0)},
        {"shape": SHAPE, "step": 1.0, "centroids": (0.0,)},
        {"shape": (4.0, 4, 4), "step": 1.0},
    ],
)
def test_impossible_arguments_are_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="Wavelets"):
        WaveletVolume(**arguments)  # type: ignore[arg-type]
