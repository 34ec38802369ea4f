"""Encodings against independent formulas and values computed by hand."""

import math

import numpy as np
import pytest
import torch
from numpy.polynomial.legendre import Legendre
from torch import Tensor
from torch.nn.functional import normalize

from nerfcomp.fields.encodings import Frequency, HashGrid, SphericalHarmonics


class TestHashGrid:
    def test_shapes_and_names(self) -> None:
        grid = HashGrid(n_levels=4, features=2, log2_table_size=8, base_resolution=4, finest_resolution=32)
        assert grid(torch.rand(10, 3)).shape == (10, grid.out_features) == (10, 8)
        assert {name: tuple(value.shape) for name, value in grid.state_dict().items()} == {
            "levels.0.weight": (64, 2),
            "levels.1.weight": (256, 2),
            "levels.2.weight": (256, 2),
            "levels.3.weight": (256, 2),
        }

    def test_default_is_ngp_pl(self) -> None:
        with torch.device("meta"):
            grid = HashGrid()
        assert sum(level.numel() for level in grid.parameters()) == 11_445_040

    def test_starts_small_and_seeded(self) -> None:
        torch.manual_seed(5)
        first = HashGrid(n_levels=2, log2_table_size=12)
        torch.manual_seed(5)
        second = HashGrid(n_levels=2, log2_table_size=12)
        for one, two in zip(first.parameters(), second.parameters()):
            assert torch.equal(one, two)
            assert one.abs().max() <= 1e-4
            assert one.std().item() == pytest.approx(2e-4 / math.sqrt(12), rel=0.05)

    def test_backends_agree(self) -> None:
        grids = [HashGrid(3, 2, 8, 4, 32, backend=backend) for backend in ("torch", "numba")]
        grids[1].load_state_dict(grids[0].state_dict())
        x = torch.rand(100, 3)
        torch.testing.assert_close(grids[0](x), grids[1](x), atol=1e-9, rtol=1e-4)

    def test_parametrized_table(self) -> None:
        class Double(torch.nn.Module):
            def forward(self, weight: Tensor) -> Tensor:
                return 2 * weight

        grid = HashGrid(2, 2, 8, 4, 8)
        x = torch.rand(20, 3)
        before = grid(x)
        for level in grid.levels:
            torch.nn.utils.parametrize.register_parametrization(level, "weight", Double())
        torch.testing.assert_close(grid(x), 2 * before)

    def test_no_features(self) -> None:
        with pytest.raises(ValueError, match="0 features per entry"):
            HashGrid(features=0)


def real_harmonic(degree: int, order: int, d: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> Tensor:
    """Orthonormal real harmonic with the Condon-Shortley phase, from Legendre polynomials."""
    m = abs(order)
    phi = np.arctan2(d[:, 1], d[:, 0])
    legendre = (-1) ** m * (1 - d[:, 2] ** 2) ** (m / 2) * Legendre.basis(degree).deriv(m)(d[:, 2])
    norm = math.sqrt((2 * degree + 1) / (4 * math.pi) * math.factorial(degree - m) / math.factorial(degree + m))
    turn = 1.0 if order == 0 else math.sqrt(2) * (np.cos(m * phi) if order > 0 else np.sin(m * phi))
    return torch.from_numpy(norm * legendre * turn)


class TestSphericalHarmonics:
    def test_equals_legendre_form(self) -> None:
        d = normalize(torch.randn(50, 3, dtype=torch.float64), dim=1)
        ours = SphericalHarmonics(4)(d)
        for degree in range(4):
            for order in range(-degree, degree + 1):
                expected = real_harmonic(degree, order, d.numpy())
                torch.testing.assert_close(ours[:, degree * degree + degree + order], expected, atol=1e-12, rtol=1e-12)

    def test_by_hand_along_the_axes(self) -> None:
        along_x, along_z = SphericalHarmonics(2)(torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])).tolist()
        assert along_x == pytest.approx([0.2820948, 0.0, 0.0, -0.4886025])  # sqrt(1 / 4 pi), sqrt(3 / 4 pi)
        assert along_z == pytest.approx([0.2820948, 0.0, 0.4886025, 0.0])

    @pytest.mark.parametrize("degree", [1, 2, 3, 4])
    def test_lower_degree_is_a_prefix(self, degree: int) -> None:
        d = normalize(torch.randn(7, 3), dim=1)
        module = SphericalHarmonics(degree)
        assert module.out_features == degree**2
        assert torch.equal(module(d), SphericalHarmonics(4)(d)[:, : degree**2])

    @pytest.mark.parametrize("degree", [0, 5])
    def test_other_degrees_are_refused(self, degree: int) -> None:
        with pytest.raises(ValueError, match="allowed are 1, 2, 3 and 4"):
            SphericalHarmonics(degree)

    def test_gradient(self) -> None:
        d = normalize(torch.randn(3, 3, dtype=torch.float64), dim=1).requires_grad_()
        torch.autograd.gradcheck(SphericalHarmonics(4), d)


class TestFrequency:
    def test_by_hand(self) -> None:
        encoded = Frequency(n_frequencies=2, in_features=2)(torch.tensor([[0.5, -1.0]]))
        sin, cos = math.sin, math.cos
        expected = [0.5, -1, sin(0.5), sin(-1), cos(0.5), cos(-1), sin(1), sin(-2), cos(1), cos(-2)]
        assert encoded.tolist()[0] == pytest.approx(expected)

    @pytest.mark.parametrize("include_input", [True, False])
    def test_width(self, include_input: bool) -> None:
        module = Frequency(10, 3, include_input)
        assert module(torch.rand(4, 3)).shape == (4, module.out_features) == (4, 63 if include_input else 60)

    def test_no_octaves(self) -> None:
        with pytest.raises(ValueError, match="of 0 octaves"):
            Frequency(0)
