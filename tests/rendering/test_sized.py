"""Samples in buffers of fixed size: those that `affordable_samples` chooses."""

import pytest
import torch

from nerfcomp.kernels.march import Samples, fitting
from nerfcomp.rendering.cell_draws import occupied_cells, uniform
from nerfcomp.rendering.sized import sized_samples
from nerfcomp.rendering.visibility import affordable_samples, visible_samples


def packed(counts: torch.Tensor) -> Samples:
    offsets = torch.nn.functional.pad(counts.cumsum(0), (1, 0))
    m = int(offsets[-1])
    rays = torch.arange(len(counts)).repeat_interleave(counts)
    return Samples(torch.rand(m, 3), torch.rand(m), torch.rand(m) + 0.1, rays, offsets)


def alpha_fn(x: torch.Tensor, d: torch.Tensor, dt: torch.Tensor) -> torch.Tensor:
    return (x[:, 0] ** 3).clamp(max=1.0)


@pytest.mark.parametrize("most", [40, 200, 5000])
@pytest.mark.parametrize("room", [0, 7])
def test_equals_what_is_chosen_by_asking(most: int, room: int) -> None:
    counts = torch.randint(0, 30, (60,))
    counts[[0, 5, 59]] = 0
    marched, viewdirs = packed(counts), torch.rand(60, 3)
    true, n_rays = affordable_samples(marched, viewdirs, lambda s, d: visible_samples(s, d, alpha_fn), most)
    sized = sized_samples(fitting(marched, len(marched.t) + room), viewdirs, alpha_fn, most)
    total, samples = len(true.t), sized.samples
    assert 0 < total < len(marched.t)
    assert int(sized.n_rays) == n_rays
    assert samples.offsets[: n_rays + 1].tolist() == true.offsets.tolist()
    assert bool((samples.offsets[n_rays:] == total).all())
    for ours, theirs in zip(samples[:4], true[:4]):
        assert len(ours) == most
        assert torch.equal(ours[:total], theirs)
    assert not samples.dt[total:].any()
    torch.testing.assert_close(sized.shares(60).sum(), torch.tensor(1.0))
    assert int(sized.shares(60).count_nonzero()) == n_rays


def test_rays_that_were_not_marched_are_not_used() -> None:
    marched = packed(torch.tensor([5, 6, 7, 8]))
    sized = sized_samples(fitting(marched, 15), torch.rand(4, 3), lambda x, d, dt: torch.zeros(len(x)), 100)
    assert int(sized.n_rays) == 2
    assert sized.samples.offsets.tolist() == [0, 5, 11, 11, 11]


def test_hashed_draws_are_even_and_change_with_the_update() -> None:
    first, second = uniform(2**14, 0, 0, torch.device("cpu")), uniform(2**14, 1, 0, torch.device("cpu"))
    for numbers in (first, second):
        assert 200 < int(torch.histc(numbers, 64, 0, 1).min()) < int(torch.histc(numbers, 64, 0, 1).max()) < 320
    assert float(torch.corrcoef(torch.stack([first, second]))[0, 1].abs()) < 0.03
    assert float(torch.corrcoef(torch.stack([first[1:], first[:-1]]))[0, 1].abs()) < 0.03


def test_occupied_cells_are_drawn_evenly() -> None:
    occupied = torch.rand(1000) < 0.05
    cells, total = occupied_cells(occupied, 20_000, 3)
    counts = torch.bincount(cells, minlength=1000)
    assert int(total) == int(occupied.sum())
    assert torch.equal(counts > 0, occupied)
    assert int(counts[occupied].min()) > 0.75 * 20_000 / int(total)


def test_no_occupied_cell_is_no_error() -> None:
    cells, total = occupied_cells(torch.zeros(10, dtype=torch.bool), 4, 0)
    assert (cells.tolist(), int(total)) == ([9] * 4, 0)
