"""The hash grid: indices by hand, all backends against a slow reference."""

import itertools
import math
from collections.abc import Iterator, Sequence

import pytest
import torch
from torch import Tensor

from nerfcomp.kernels import hash_grid
from nerfcomp.kernels.backends import Backend
from nerfcomp.kernels.hash_grid import GridGeometry, grid_geometry
from nerfcomp.kernels.hash_grid.torch_kernel import corner_indices
from tests.kernels.twins import BACKENDS, TRITON, TWINS, run_on

SMALL = grid_geometry(
    levels=5, log2_table_size=9, base_resolution=4, finest_resolution=37
)  # two dense levels, three hashed


def make_tables(geometry: GridGeometry, features: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    return [torch.randn(entries, features, dtype=dtype, requires_grad=True) for entries in geometry.entries]


def hash_encode(x: Tensor, tables: Sequence[Tensor], geometry: GridGeometry, backend: Backend = "auto") -> Tensor:
    """`hash_grid.hash_encode` on the device of a backend."""
    features: Tensor = run_on(backend, hash_grid.hash_encode, x, tables, geometry)
    return features


def slow_row(cell: tuple[int, int, int], resolution: int, entries: int) -> int:
    """Table row of a lattice point, in Python's unbounded integers."""
    x, y, z = cell
    if resolution**3 <= entries:
        return (x + resolution * (y + resolution * z)) % entries
    return (x ^ (y * 2654435761 % 2**32) ^ (z * 805459861 % 2**32)) % entries


def slow_encode(x: Tensor, tables: list[Tensor], geometry: GridGeometry) -> Tensor:
    """One point, one level, one corner at a time."""
    out = torch.zeros(len(x), len(tables), tables[0].shape[1], dtype=torch.float64)
    for m, (level, table) in itertools.product(range(len(x)), enumerate(tables)):
        position = [geometry.scales[level] * min(max(value, 0.0), 1.0) + 0.5 for value in x[m].tolist()]
        for corner in itertools.product((0, 1), repeat=3):
            cell = tuple(math.floor(p) + bit for p, bit in zip(position, corner))
            weight = math.prod(p % 1.0 if bit else 1.0 - p % 1.0 for p, bit in zip(position, corner))
            row = slow_row((cell[0], cell[1], cell[2]), geometry.resolutions[level], geometry.entries[level])
            out[m, level] += weight * table[row].detach().double()
    return out.flatten(1)


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


class TestIndices:
    def test_dense_by_hand(self) -> None:
        rows = corner_indices(torch.tensor([[3, 0, 1]]), resolution=5, entries=128)
        assert rows.tolist() == [[28, 29, 33, 34, 53, 54, 58, 59]]  # 3 + 0 * 5 + 1 * 25 = 28

    def test_dense_wraps_at_the_end(self) -> None:
        rows = corner_indices(torch.tensor([[1, 1, 1]]), resolution=2, entries=8)
        assert rows.tolist() == [[7, 0, 1, 2, 3, 4, 5, 6]]  # 7, 8, 9, 10, 11, 12, 13, 14 modulo 8

    def test_hash_by_hand(self) -> None:
        rows = corner_indices(torch.tensor([[5, 0, 0]]), resolution=100, entries=2**19)
        prime_y, prime_z = 2654435761 % 2**19, 805459861 % 2**19
        by_hand = [5, 6, 5 ^ prime_y, 6 ^ prime_y, 5 ^ prime_z, 6 ^ prime_z]
        assert rows[0, :6].tolist() == by_hand
        assert rows[0, 6:].tolist() == [5 ^ prime_y ^ prime_z, 6 ^ prime_y ^ prime_z]

    def test_hash_wraps_products_to_32_bits(self) -> None:
        cell = (8191, 8190, 8189)
        rows = corner_indices(torch.tensor([cell]), resolution=8192, entries=2**19)
        assert rows[0, 0].item() == slow_row(cell, 8192, 2**19)


@pytest.mark.parametrize("backend", BACKENDS)
class TestValues:
    def test_slow_reference(self, backend: Backend) -> None:
        x = torch.cat([torch.rand(40, 3), torch.tensor([[0.0, 1.0, 0.5], [1.0, 1.0, 1.0], [-0.5, 2.0, 0.25]])])
        tables = make_tables(SMALL, features=2)
        fast = hash_encode(x, tables, SMALL, backend)
        torch.testing.assert_close(fast.double(), slow_encode(x, tables, SMALL), atol=2e-5, rtol=0)

    def test_constant_tables_give_the_constant(self, backend: Backend) -> None:
        tables = [torch.full((entries, 2), float(level)) for level, entries in enumerate(SMALL.entries)]
        features = hash_encode(torch.rand(100, 3), tables, SMALL, backend)
        torch.testing.assert_close(features, torch.arange(5.0).repeat_interleave(2).expand(100, 10))

    def test_dense_level_reproduces_a_linear_function(self, backend: Backend) -> None:
        geometry = grid_geometry(levels=1, log2_table_size=12, base_resolution=16, finest_resolution=16)
        x, y, z = (axis.flatten().float() for axis in torch.meshgrid(*[torch.arange(16)] * 3, indexing="ij"))
        table = torch.zeros(4096, 2)
        table[(x + 16 * y + 256 * z).long()] = torch.stack([2 * x - 3 * y + z, y], dim=1)
        points = torch.rand(200, 3) * 0.95  # beyond, a dense level wraps around
        lattice = points * 15 + 0.5
        expected = torch.stack([2 * lattice[:, 0] - 3 * lattice[:, 1] + lattice[:, 2], lattice[:, 1]], dim=1)
        torch.testing.assert_close(hash_encode(points, [table], geometry, backend), expected, atol=1e-4, rtol=0)

    def test_levels_and_features_come_in_order(self, backend: Backend) -> None:
        tables = [torch.zeros(entries, 2) for entries in SMALL.entries]
        tables[3][:, 1] = 1.0
        assert hash_encode(torch.rand(1, 3), tables, SMALL, backend).tolist() == [[0, 0, 0, 0, 0, 0, 0, 1, 0, 0]]

    def test_outside_is_clamped(self, backend: Backend) -> None:
        tables = make_tables(SMALL, 2)
        outside = hash_encode(torch.tensor([[-3.0, 0.5, 7.0], [-math.inf, 0.5, math.inf]]), tables, SMALL, backend)
        inside = hash_encode(torch.tensor([[0.0, 0.5, 1.0]] * 2), tables, SMALL, backend)
        torch.testing.assert_close(outside, inside)

    def test_no_points(self, backend: Backend) -> None:
        tables = make_tables(SMALL, 2)
        features = hash_encode(torch.zeros(0, 3), tables, SMALL, backend)
        torch.autograd.backward(features.sum())
        assert features.shape == (0, 10)
        assert all(table.grad is not None and not table.grad.any() for table in tables)

    def test_tables_must_fit(self, backend: Backend) -> None:
        with pytest.raises(ValueError, match="one table per level, of"):
            hash_encode(torch.rand(2, 3), make_tables(SMALL, 2)[:-1], SMALL, backend)
        with pytest.raises(ValueError, match=r"Positions \(2, 4\)"):
            hash_encode(torch.rand(2, 4), make_tables(SMALL, 2), SMALL, backend)


@pytest.mark.slow
def test_gradients_in_float64() -> None:
    geometry = grid_geometry(levels=3, log2_table_size=6, base_resolution=3, finest_resolution=8)
    x = torch.rand(6, 3, dtype=torch.float64, requires_grad=True)
    tables = make_tables(geometry, 2, torch.float64)
    torch.autograd.gradcheck(lambda x, *tables: hash_encode(x, tables, geometry, "torch"), (x, *tables))


def gradients(x: Tensor, tables: list[Tensor], geometry: GridGeometry, backend: Backend) -> list[Tensor]:
    """Features, and gradients of a random sum of them with respect to positions and tables."""
    x = x.clone().requires_grad_()
    features = hash_encode(x, tables, geometry, backend)
    weights = torch.randn(features.shape, generator=torch.Generator().manual_seed(1)).to(x.dtype)
    return [features.detach(), *torch.autograd.grad((features * weights).sum(), [x, *tables])]


@pytest.mark.parametrize("backend", TWINS)
class TestTwins:
    @pytest.mark.parametrize(("features", "points"), [(2, 1), (3, 65), (2, 3000)])
    def test_equals_torch(self, features: int, points: int, backend: Backend) -> None:
        x, tables = torch.rand(points, 3) * 1.2 - 0.1, make_tables(SMALL, features)
        fast, slow = gradients(x, tables, SMALL, backend), gradients(x, tables, SMALL, "torch")
        for ours, reference in zip(fast, slow, strict=True):
            torch.testing.assert_close(ours, reference, atol=1e-4 * reference.abs().max().item(), rtol=1e-4)
        assert (fast[0] - slow[0]).abs().max() <= 1e-5 * slow[0].abs().max()

    def test_all_points_in_one_place(self, backend: Backend) -> None:
        x, tables = torch.full((100, 3), 0.3), make_tables(SMALL, 2)
        fast, slow = gradients(x, tables, SMALL, backend), gradients(x, tables, SMALL, "torch")
        for ours, reference in zip(fast, slow, strict=True):
            torch.testing.assert_close(ours, reference, atol=1e-4 * reference.abs().max().item(), rtol=1e-4)

    @pytest.mark.parametrize(("size", "resolution"), [(19, 1024), (24, 1024), (24, 256)])
    @pytest.mark.slow
    def test_full_size_level(self, size: int, resolution: int, backend: Backend) -> None:
        """Multiples of 2^-13 have positions on the lattice that are float32 numbers, fused additions or not."""
        geometry = grid_geometry(1, size, resolution, resolution)
        x, tables = torch.randint(2**13 + 1, (1000, 3)) / 2**13, make_tables(geometry, 1 if size == 24 else 2)
        fast, slow = gradients(x, tables, geometry, backend), gradients(x, tables, geometry, "torch")
        for tolerance, ours, reference in zip((1e-5, 1e-4, 1e-4), fast, slow, strict=True):
            assert (ours - reference).abs().max() <= tolerance * reference.abs().max()

    def test_positions_are_as_exact_as_float32(self, backend: Backend) -> None:
        """Behind 512 cells a float32 position is rounded to 2^-14 cells, in the reference, too."""
        geometry = grid_geometry(1, 19, 1024, 1024)
        x, tables = torch.rand(500, 3), make_tables(geometry, 2)
        exact = gradients(x.double(), [table.detach().double().requires_grad_() for table in tables], geometry, "torch")
        backends: list[Backend] = [backend, "torch"]
        for twin in backends:
            found = gradients(x, tables, geometry, twin)
            for ours, true in zip(found, exact, strict=True):
                assert 1e-6 < (ours - true).abs().max() / true.abs().max() < 3 * 2**-14

    def test_frozen_tables_get_no_gradient(self, backend: Backend) -> None:
        tables = make_tables(SMALL, 2)
        tables[1].requires_grad_(False)
        torch.autograd.backward(hash_encode(torch.rand(9, 3), tables, SMALL, backend).sum())
        assert [table.grad is None for table in tables] == [False, True, False, False, False]

    def test_any_strides(self, backend: Backend) -> None:
        tables = make_tables(SMALL, 2)
        strided = [table.detach().t().contiguous().t() for table in tables]
        x = torch.rand(3, 50)
        ours = hash_encode(x.t(), strided, SMALL, backend)
        assert torch.equal(ours, hash_encode(x.t().contiguous(), tables, SMALL, backend))

    def test_gradient_of_any_strides(self, backend: Backend) -> None:
        tables = make_tables(SMALL, 2)
        features = hash_encode(torch.rand(50, 3), tables, SMALL, backend)
        weights = torch.randn(50, 10)
        rows = torch.autograd.grad(features, tables, weights, retain_graph=True)
        planes = torch.autograd.grad(features, tables, weights.t().contiguous().t(), retain_graph=True)
        broadcast = torch.autograd.grad(features, tables, torch.ones(1, 1).expand(50, 10), retain_graph=True)
        ones = torch.autograd.grad(features, tables, torch.ones(50, 10))
        for a, b in zip((*rows, *broadcast), (*planes, *ones)):
            torch.testing.assert_close(a, b)

    def test_not_a_number_stays_where_it_is(self, backend: Backend) -> None:
        x = torch.rand(70, 3)
        x[66, 1] = math.nan
        features = hash_encode(x, make_tables(SMALL, 2), SMALL, backend)
        assert features.isnan().any(dim=1).nonzero().tolist() == [[66]]


@pytest.mark.parametrize("backend", [TRITON])
def test_several_programs_share_the_points(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere the interpreter takes all points in one program."""
    from nerfcomp.kernels.hash_grid import triton_kernel

    monkeypatch.setattr(triton_kernel, "block_size", lambda *_: 32)
    geometry = grid_geometry(levels=2, log2_table_size=9, base_resolution=4, finest_resolution=37)
    x, tables = torch.rand(70, 3), make_tables(geometry, 2)
    fast, slow = gradients(x, tables, geometry, backend), gradients(x, tables, geometry, "torch")
    for ours, reference in zip(fast, slow, strict=True):
        torch.testing.assert_close(ours, reference, atol=1e-4 * reference.abs().max().item(), rtol=1e-4)


class TestNumba:
    @pytest.mark.parametrize("points", [64, 17_000])
    def test_equals_torch_with_threads(self, points: int, threads: int) -> None:
        x, tables = torch.rand(points, 3) * 1.2 - 0.1, make_tables(SMALL, 2)
        fast, slow = gradients(x, tables, SMALL, "numba"), gradients(x, tables, SMALL, "torch")
        for ours, reference in zip(fast, slow, strict=True):
            torch.testing.assert_close(ours, reference, atol=1e-4 * reference.abs().max().item(), rtol=1e-4)

    def test_sums_do_not_depend_on_threads(self) -> None:
        x, tables = torch.rand(3000, 3), make_tables(SMALL, 2)
        before = torch.get_num_threads()
        results = []
        for number in (1, 2):
            torch.set_num_threads(number)
            results.append(gradients(x, tables, SMALL, "numba"))
        torch.set_num_threads(before)
        assert all(torch.equal(one, two) for one, two in zip(*results, strict=True))

    def test_only_float32_on_the_cpu(self) -> None:
        x, tables = torch.rand(4, 3, dtype=torch.float64), make_tables(SMALL, 2, torch.float64)
        with pytest.raises(ValueError, match="takes float32 tensors on the CPU, found float64"):
            hash_encode(x, tables, SMALL, "numba")
        assert hash_encode(x, tables, SMALL, "auto").dtype == torch.float64

    def test_auto_is_numba_for_float32(self) -> None:
        x, tables = torch.rand(30, 3), make_tables(SMALL, 2)
        assert torch.equal(hash_encode(x, tables, SMALL), hash_encode(x, tables, SMALL, "numba"))

    def test_unknown_backend(self) -> None:
        with pytest.raises(ValueError, match="'cuda', allowed are auto, torch, numba, triton"):
            hash_encode(torch.rand(4, 3), make_tables(SMALL, 2), SMALL, "cuda")  # type: ignore[arg-type]


@pytest.mark.parametrize("twin", TWINS)
def test_second_derivatives_are_those_of_the_reference(twin: Backend) -> None:
    """Of the length of the gradient, as an eikonal loss takes them, with respect to tables and positions."""
    geometry = grid_geometry(3, 8, 4, 16)
    x = torch.rand(50, 3)
    found = []
    backends: list[Backend] = [twin, "torch"]
    for backend in backends:
        tables = [torch.sin(torch.arange(2.0 * rows)).view(rows, 2).requires_grad_() for rows in geometry.entries]
        position = x.clone().requires_grad_()
        value = hash_encode(position, tables, geometry, backend).square().sum()
        (normal,) = torch.autograd.grad(value, position, create_graph=True)
        loss = (normal.norm(dim=1) - 1).square().mean()
        found.append(torch.autograd.grad(loss, [position, *tables]))
    for ours, theirs in zip(*found):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4 * float(theirs.abs().max()))
        assert theirs.abs().max() > 0
