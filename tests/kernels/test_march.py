"""March: against a slow walk over all steps in double precision, and twins against each other."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from nerfcomp.kernels import march as kernels
from nerfcomp.kernels.backends import Backend
from nerfcomp.kernels.march import Samples, intersect_box, step_lattice
from nerfcomp.kernels.march.bricks import fill_inner, pack_bricks, words_numpy, words_torch
from tests.kernels.twins import BACKENDS, TWINS, run_on

BOX = torch.tensor([[-1.0, -2.0, 0.5], [3.0, 2.0, 4.5]])


def march(*arguments: Any, backend: Backend = "auto", **options: Any) -> Samples:
    """`kernels.march` on the device of a backend."""
    samples: Samples = run_on(backend, kernels.march, *arguments, **options)
    return samples


def random_rays(n: int, box: Tensor = BOX, distance: float = 2.0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Rays from all around that aim into the box, with near and far bounds."""
    center, half = box.mean(0), (box[1] - box[0]) / 2
    origins = center + torch.nn.functional.normalize(torch.randn(n, 3), dim=1) * half.norm() * distance
    targets = center + (torch.rand(n, 3) * 2 - 1) * half
    directions = torch.nn.functional.normalize(targets - origins, dim=1)
    return origins, directions, torch.rand(n, 1) * 2, 4.0 + torch.rand(n, 1) * 20


def blobs(cascades: int, resolution: int) -> Tensor:
    """Some solid balls and some isolated cells."""
    axis = (torch.arange(resolution) + 0.5) / resolution * 2 - 1
    grid = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1)
    layers = []
    for _ in range(cascades):
        center = torch.rand(3) - 0.5
        layers.append(((grid - center).norm(dim=-1) < 0.3) | (torch.rand(grid.shape[:3]) < 0.02))
    return torch.stack(layers)


def slow_march(
    rays: tuple[Tensor, Tensor, Tensor, Tensor],
    jitter: Tensor,
    occupied: Tensor,
    box: Tensor,
    steps: tuple[float, float, float],
    most: int,
) -> list[list[tuple[float, float]]]:
    """(t, dt) of the samples of each ray, straight from the definition."""
    cascades, resolution = occupied.shape[:2]
    dt_min, dt_max, cone = steps
    result = []
    for origin, direction, near, far, u in zip(*(v.double() for v in rays), jitter.double().tolist()):
        kept: list[tuple[float, float]] = []
        edge = 0.0
        while edge < 50.0 and len(kept) < most:
            width = min(max(edge * cone, dt_min), dt_max)
            next_width = min(max((edge + width) * cone, dt_min), dt_max)
            low, high = edge + u * width, edge + width + u * next_width
            t, dt = (low + high) / 2, high - low
            edge += width
            p = (origin + t * direction - box.double().mean(0)) / ((box[1] - box[0]).double() / 2)
            radius = float(p.abs().max())
            if radius > 1 or not max(float(near), 0.0) <= t < float(far):
                continue
            cascade = min(c for c in range(cascades) if radius * 2 ** (cascades - 1 - c) <= 1)
            cell = ((p * 2 ** (cascades - 1 - cascade) + 1) / 2 * resolution).long().clamp(max=resolution - 1)
            if occupied[cascade, cell[0], cell[1], cell[2]]:
                kept.append((t, dt))
        result.append(kept)
    return result


CASES = [
    pytest.param(1, 16, (0.15, 0.15, 0.0), 1024, id="equal-steps"),
    pytest.param(1, 12, (0.3, 0.3, 0.0), 1024, id="steps-larger-than-cells"),
    pytest.param(1, 16, (0.05, 0.4, 1 / 16), 1024, id="growing-steps"),
    pytest.param(3, 16, (0.08, 0.5, 1 / 16), 1024, id="cascades"),
    pytest.param(2, 8, (0.1, 0.1, 0.0), 7, id="capped"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("cascades", "resolution", "steps", "most"), CASES)
def test_equals_slow_walk(cascades: int, resolution: int, steps: tuple[float, float, float], most: int) -> None:
    occupied, rays, jitter = blobs(cascades, resolution), random_rays(12), torch.rand(12)
    samples = march(*rays, jitter, occupied, BOX, *steps, max_samples=most)
    expected = slow_march(rays, jitter, occupied, BOX, steps, most)
    assert samples.offsets.diff().tolist() == [len(ray) for ray in expected]
    t, dt = zip(*[sample for ray in expected for sample in ray])
    torch.testing.assert_close(samples.t, torch.tensor(t), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(samples.dt, torch.tensor(dt), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("cascades", "resolution", "steps", "most"), CASES)
@pytest.mark.parametrize("backend", TWINS)
def test_twins_find_the_very_same_samples(
    cascades: int, resolution: int, steps: tuple[float, float, float], most: int, backend: Backend
) -> None:
    occupied, rays, jitter = blobs(cascades, resolution), random_rays(300, distance=1.2), torch.rand(300)
    fast = march(*rays, jitter, occupied, BOX, *steps, max_samples=most, backend=backend)
    slow = march(*rays, jitter, occupied, BOX, *steps, max_samples=most, backend="torch")
    assert len(fast.t) > 100
    for one, other in zip(fast, slow):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)


def test_samples_are_packed_in_order_and_lie_on_their_rays() -> None:
    rays = random_rays(200)
    samples = march(*rays, torch.rand(200), blobs(1, 16), BOX, 0.05, 0.05)
    assert torch.equal(samples.ray_indices, torch.arange(200).repeat_interleave(samples.offsets.diff()))
    same_ray = samples.ray_indices[1:] == samples.ray_indices[:-1]
    assert bool((samples.t.diff()[same_ray] > 0).all())
    expected = rays[0][samples.ray_indices] + samples.t.unsqueeze(1) * rays[1][samples.ray_indices]
    torch.testing.assert_close(samples.x, expected)


def test_intervals_of_a_full_grid_leave_no_gaps() -> None:
    rays = random_rays(50)
    samples = march(*rays, torch.rand(50), torch.ones(1, 8, 8, 8, dtype=torch.bool), BOX, 0.01, 0.5, 1 / 32)
    same_ray = samples.ray_indices[1:] == samples.ray_indices[:-1]
    ends, starts = samples.t + samples.dt / 2, samples.t - samples.dt / 2
    torch.testing.assert_close(ends[:-1][same_ray], starts[1:][same_ray], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_result_does_not_depend_on_threads(threads: int) -> None:
    occupied, rays, jitter = blobs(1, 16), random_rays(500), torch.rand(500)
    expected = march(*rays, jitter, occupied, BOX, 0.05, 0.05)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    samples = march(*rays, jitter, occupied, BOX, 0.05, 0.05)
    torch.set_num_threads(before)
    assert all(torch.equal(one, other) for one, other in zip(samples, expected))


def test_a_ray_alone_has_the_same_samples_as_among_others() -> None:
    occupied, rays, jitter = blobs(2, 16), random_rays(100), torch.rand(100)
    together = march(*rays, jitter, occupied, BOX, 0.02, 0.1, 1 / 64)
    for ray in (0, 57, 99):
        origins, directions, near, far = (v[ray : ray + 1] for v in rays)
        alone = march(origins, directions, near, far, jitter[ray : ray + 1], occupied, BOX, 0.02, 0.1, 1 / 64)
        assert torch.equal(alone.t, together.t[together.offsets[ray] : together.offsets[ray + 1]])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", ["no-rays", "all-miss", "empty-grid", "far-before-near", "nan"])
def test_nothing_to_sample(backend: Backend, case: str) -> None:
    n = 0 if case == "no-rays" else 5
    origins, directions, near, far = random_rays(n)
    occupied = torch.ones(1, 8, 8, 8, dtype=torch.bool)
    if case == "all-miss":
        directions = -directions
    if case == "empty-grid":
        occupied = ~occupied
    if case == "far-before-near":
        near, far = far, near
    if case == "nan":
        origins = origins * math.nan
    samples = march(origins, directions, near, far, None, occupied, BOX, 0.1, 0.1, backend=backend)
    assert [len(part) for part in samples] == [0, 0, 0, 0, n + 1]
    assert samples.x.shape == (0, 3)
    assert samples.offsets.tolist() == [0] * (n + 1)


@pytest.mark.parametrize("backend", BACKENDS)
def test_rays_along_axes_and_from_inside(backend: Backend) -> None:
    """From the centre (1, 0, 2.5) along +x there are 2 units, 8 steps of 0.25, to the face.

    The last two run along an edge of the box: its lower faces belong to it, its upper ones do not.
    """
    origins = torch.tensor([[1.0, 0.0, 2.5], [1.0, 0.0, 2.5], [-1.0, 3.0, 2.5], [5.0, -2.0, 0.5]])
    directions = torch.tensor([[1.0, 0, 0], [0, 0, -1.0], [0, -1.0, 0], [-1.0, 0, 0]])
    near, far, full = torch.zeros(4, 1), torch.full((4, 1), 99.0), torch.ones(1, 4, 4, 4, dtype=torch.bool)
    samples = march(origins, directions, near, far, None, full, BOX, 0.25, 0.25, backend=backend)
    assert samples.offsets.diff().tolist() == [8, 8, 16, 16]


def test_intersection_of_a_box() -> None:
    """From (-3, 0, 1) along (1, 0, 0) the box [-1, 3] is entered after 2 and left after 6; near and far clip that."""
    origins, directions = torch.tensor([[-3.0, 0.0, 1.0]] * 4), torch.tensor([[1.0, 0, 0]] * 3 + [[0, 1.0, 0]])
    near, far = torch.tensor([0.0, 3.0, 7.0, 0.0]), torch.tensor([9.0, 5.0, 9.0, 9.0])
    enter, leave = intersect_box(origins, directions, near, far, BOX)
    assert enter.tolist() == [2.0, 3.0, 0.0, 0.0]
    assert leave.tolist() == [6.0, 5.0, 0.0, 0.0]


def test_lattice_grows_between_its_limits() -> None:
    """cone 1/4, steps 1 to 2: edges 0 1 2 3 4, then 5 (4/4 = 1), 6.25, 7.8125, 9.765625 (1.95), 11.765625 (2)."""
    midpoints, widths = step_lattice(1.0, 2.0, 0.25, 8.0)
    assert widths[:9].tolist() == [1.0, 1.0, 1.0, 1.0, 1.0, 1.25, 1.5625, 1.953125, 2.0]
    assert midpoints[4:7].tolist() == [4.5, 5.625, 7.03125]
    assert midpoints[-3] > 8.0


@pytest.mark.parametrize(
    "steps", [(0.0, 1.0, 0.0), (2.0, 1.0, 0.0), (1.0, 1.0, -1.0), (1e-9, 1.0, 0.0), (1e-7, 1e-7, 1.0)]
)
def test_impossible_lattices_are_refused(steps: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="Need 0 < dt_min|Move the cameras closer"):
        step_lattice(*steps, 10.0)


def test_resolution_must_be_divisible_by_four() -> None:
    with pytest.raises(ValueError, match="divisible by 4, found 6"):
        march(*random_rays(1), None, torch.ones(1, 6, 6, 6, dtype=torch.bool), BOX, 0.1, 0.1)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("share", [0.0, 0.7, 2.0])
def test_a_fixed_room_holds_whole_rays(backend: Backend, share: float) -> None:
    """As many leading rays as fit keep their samples; what is behind them is zeros."""
    occupied, rays, jitter = blobs(1, 16), random_rays(20), torch.rand(20)
    whole = march(*rays, jitter, occupied, BOX, 0.6, 0.6)
    capacity = int(share * len(whole.t)) + 1
    some = march(*rays, jitter, occupied, BOX, 0.6, 0.6, backend=backend, reach=40.0, capacity=capacity)
    kept = int(torch.searchsorted(whole.offsets, capacity, right=True)) - 1
    total = int(whole.offsets[kept])
    assert torch.equal(some.offsets, whole.offsets)
    for ours, theirs in zip(some[:4], whole[:4]):
        torch.testing.assert_close(ours[:total], theirs[:total])
        assert len(ours) == capacity and not ours[total:].any()


def test_words_are_the_same_from_torch_and_numpy() -> None:
    occupied = torch.rand(2, 16, 16, 16) < 0.5
    assert torch.equal(words_torch(occupied), words_numpy(occupied))


def test_bricks_hold_every_cell_once() -> None:
    occupied = torch.rand(1, 16, 16, 16) < 0.1
    words = pack_bricks(occupied).words[0]
    for x, y, z in torch.randint(16, (200, 3)).tolist():
        bit = int(words[x // 4, y // 4, z // 4]) >> (x % 4 * 16 + y % 4 * 4 + z % 4) & 1
        assert bit == int(occupied[0, x, y, z])


def test_levels_name_the_largest_empty_aligned_block() -> None:
    occupied = torch.rand(1, 32, 32, 32) < 0.0005
    bricks = pack_bricks(occupied)
    for x, y, z in torch.randint(8, (100, 3)).tolist():
        level = int(bricks.levels[0, x, y, z])
        blocks = [
            tuple(slice(4 * (axis >> n << n), 4 * ((axis >> n) + 1 << n)) for axis in (x, y, z)) for n in range(4)
        ]
        empty = [not bool(occupied[0][block].any()) for block in blocks]
        assert level == empty.index(False) if False in empty else level == 4


def test_inner_part_of_a_coarse_cascade_shows_the_fine_one() -> None:
    occupied = torch.zeros(2, 8, 8, 8, dtype=torch.bool)
    occupied[0, 0, 0, 7] = True
    occupied[1, 3, 3, 3] = True
    filled = fill_inner(occupied)
    assert filled[1].nonzero().tolist() == [[2, 2, 5]]
