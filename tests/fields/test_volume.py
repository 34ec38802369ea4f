import pytest
import torch

from nerfcomp.fields import HashVolume, LatentGridVolume, VolumeField
from nerfcomp.fields.volume import ScalarHead
from nerfcomp.geometry.lattice import lattice_positions, volume_extent


def make(kind: str) -> VolumeField:
    torch.manual_seed(0)
    if kind == "hash":
        field = HashVolume(levels=2, log2_table_size=9, base_resolution=4, finest_resolution=12)
        for table in field.grid.tables:
            torch.nn.init.normal_(table)
        return field
    return LatentGridVolume(features=2, size=6, hidden_width=8, hidden_layers=2)


@pytest.mark.parametrize("kind", ["hash", "latent"])
def test_values_do_not_depend_on_slices(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    field = make(kind)
    x = torch.rand(50, 3) * 2 - 1
    whole = field(x)
    monkeypatch.setattr("nerfcomp.fields.volume._SLICE", 7)
    with torch.no_grad():
        assert torch.allclose(field(x), whole.detach(), atol=1e-6)


@pytest.mark.parametrize("kind", ["hash", "latent"])
def test_gradients_are_finite_differences(kind: str) -> None:
    field = make(kind)
    x, step = torch.rand(20, 3) * 1.8 - 0.9, 1e-3
    with torch.no_grad():
        shifts = [torch.eye(3)[axis] * step for axis in range(3)]
        expected = torch.stack([(field(x + s) - field(x - s)) / (2 * step) for s in shifts], dim=1)
    off = (field.gradients(x) - expected).abs() / (1 + expected.abs())
    assert float(off.median()) < 1e-2  # a few points lie at an edge of a cell or of a ReLU


def test_the_seeds_network_has_its_number_of_parameters() -> None:
    field = LatentGridVolume()
    assert sum(p.numel() for p in field.head.parameters()) == 4225
    assert sum(p.numel() for p in field.parameters()) == 113521
    halved = LatentGridVolume(border="periodic")
    assert sum(p.numel() for p in halved.parameters()) == 4225 + 16 * 15**3


def test_the_feature_grid_interpolates_like_grid_sample_inside() -> None:
    grid = LatentGridVolume(features=2, size=6, wavelet="none").grid
    x = torch.rand(40, 3)
    at = (x * 4 + 0.5) / 5 * 2 - 1  # cells from half a spacing inside
    expected = torch.nn.functional.grid_sample(grid.grid()[None], at[None, None, None], align_corners=True)
    assert torch.allclose(grid(x), expected[0, :, 0, 0].t(), atol=1e-5)


def test_a_wavelet_grid_starts_as_the_spatial_one_would() -> None:
    torch.manual_seed(3)
    spatial = LatentGridVolume(features=2, size=7, wavelet="none")
    torch.manual_seed(3)
    coefficients = LatentGridVolume(features=2, size=7, wavelet="db2")
    assert torch.allclose(spatial.grid.grid(), coefficients.grid.grid(), atol=1e-5)


def test_a_head_computes_what_its_layers_say() -> None:
    head = ScalarHead(2, 3, 1, periodic=True)
    x = torch.rand(4, 2)
    first, last = head.layers
    hidden = x @ first.weight.t() + first.bias  # type: ignore[operator]
    assert torch.allclose(head(x), (0.5 * hidden + hidden.sin() ** 2) @ last.weight[0] + last.bias)  # type: ignore


def test_the_longest_axis_spans_the_cube() -> None:
    assert volume_extent((11, 21, 6)) == (0.5, 1.0, 0.25)
    corners = lattice_positions(torch.tensor([[0, 0, 0], [10, 20, 5]]), (11, 21, 6))
    assert corners.tolist() == [[-0.5, -1.0, -0.25], [0.5, 1.0, 0.25]]
    assert volume_extent((1, 1, 1)) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("arguments", [{"features": 0}, {"size": 2}])
def test_impossible_grids_are_refused(arguments: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="impossible"):
        LatentGridVolume(**arguments)  # type: ignore[arg-type]
