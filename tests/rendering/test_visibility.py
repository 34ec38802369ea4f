"""Choosing samples: optical depth by a double loop, and the bookkeeping of groups of rays."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nerfcomp.kernels.march import Samples
from nerfcomp.rendering.visibility import (
    affordable_samples,
    follow_light,
    join_samples,
    optical_depth,
    rays_within,
    some_rays,
    visible_samples,
)
from tests.rendering.opacities import along


def no_directions(samples: Samples) -> torch.Tensor:
    return torch.zeros(len(samples.offsets) - 1, 3)


def seen(density_fn: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Samples, torch.Tensor], Samples]:
    """Choose what light reaches through a density."""
    return lambda samples, viewdirs: visible_samples(samples, viewdirs, along(density_fn))


def packed(counts: list[int], seed: int = 0) -> Samples:
    generator = torch.Generator().manual_seed(seed)
    offsets = torch.tensor([0, *counts]).cumsum(0)
    total = int(offsets[-1])
    rays = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts, dtype=torch.int64))
    t = torch.rand(total, generator=generator)
    return Samples(torch.rand(total, 3, generator=generator), t, 0.1 + t, rays, offsets)


def test_optical_depth_is_the_sum_in_front() -> None:
    samples = packed([3, 0, 2, 1])
    density = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    for ray in range(4):
        depth = 0.0
        for i in range(int(samples.offsets[ray]), int(samples.offsets[ray + 1])):
            assert optical_depth(density, samples.dt, samples.offsets)[i].item() == pytest.approx(depth, abs=1e-6)
            depth += (density[i] * samples.dt[i]).item()


def test_the_sample_that_makes_a_ray_opaque_stays() -> None:
    samples = packed([3, 2])._replace(dt=torch.ones(5))
    limit = -math.log(1e-4)
    values = {tuple(x.tolist()): d for x, d in zip(samples.x, [0.5 * limit, limit, 1.0, limit * 0.99, 1.0])}
    kept = visible_samples(
        samples, no_directions(samples), along(lambda x: torch.tensor([values[tuple(row.tolist())] for row in x]))
    )
    assert kept.offsets.tolist() == [0, 2, 4] and kept.ray_indices.tolist() == [0, 0, 1, 1]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=12), st.integers(0, 30))
def test_affordable_samples_are_those_of_whole_leading_rays(counts: list[int], most: int) -> None:
    samples = packed(counts)
    chosen, rays = affordable_samples(
        samples, no_directions(samples), seen(lambda x: torch.zeros(len(x))), max(most, 1)
    )
    expected = max(rays_within(samples, max(most, 1)), 1)
    assert rays == expected
    reference = some_rays(samples, 0, rays)
    assert all(torch.equal(a, b) for a, b in zip(chosen, reference))


@pytest.mark.slow
@given(st.lists(st.integers(0, 4), min_size=1, max_size=10), st.integers(1, 20))
def test_hidden_samples_do_not_count(counts: list[int], most: int) -> None:
    samples = packed(counts)
    chosen, rays = affordable_samples(samples, no_directions(samples), seen(lambda x: torch.full((len(x),), 1e9)), most)
    firsts = [min(count, 1) for count in counts]  # everything behind a ray's first sample is dark
    assert chosen.offsets.tolist() == torch.tensor([0, *firsts[:rays]]).cumsum(0).tolist()
    assert rays == len(counts) or sum(firsts[: rays + 1]) > most or sum(firsts[:rays]) == most


def test_waves_see_what_one_look_sees() -> None:
    samples = packed([40, 0, 3, 70, 1, 25])
    density = 3 * samples.x.sum(1)
    depth = optical_depth(density, samples.dt, samples.offsets)
    rays = samples.ray_indices[depth <= -math.log(1e-4)]
    expected = torch.bincount(rays, minlength=6)
    assert torch.equal(follow_light(samples, no_directions(samples), along(lambda x: 3 * x.sum(1))).counts, expected)
    assert 0 < int(expected.sum()) < len(samples.t)


def test_no_rays() -> None:
    chosen, rays = affordable_samples(
        packed([])._replace(offsets=torch.tensor([0])), torch.zeros(0, 3), seen(lambda x: x[:, 0]), 8
    )
    assert rays == 0 and len(chosen.t) == 0


@given(st.lists(st.integers(0, 4), min_size=2, max_size=10), st.data())
def test_split_groups_join_again(counts: list[int], data: st.DataObject) -> None:
    samples = packed(counts)
    cut = data.draw(st.integers(1, len(counts) - 1))
    joined = join_samples([some_rays(samples, 0, cut), some_rays(samples, cut, len(counts))])
    assert all(torch.equal(a, b) for a, b in zip(joined, samples))
