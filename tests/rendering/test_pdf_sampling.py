"""Distances along rays: strata, and the inverse of a distribution."""

import numpy as np
import pytest
import torch

from nerfcomp.rendering.pdf_sampling import intervals, sample_pdf, stratified
from tests.nerf_reference import draw


def bounds(count: int = 4000) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.full((count, 1), 2.0), torch.full((count, 1), 6.0)


def test_strata_without_jitter() -> None:
    near, far = bounds(1)
    assert torch.allclose(stratified(near, far, 64, torch.zeros(1))[0], torch.linspace(2, 6, 64))
    inverse = 1 / stratified(near, far, 64, torch.zeros(1), lindisp=True)[0]
    assert torch.allclose(inverse, torch.linspace(1 / 2, 1 / 6, 64))


def test_jitter_stays_between_the_neighbours_middles_and_fills_them() -> None:
    near, far = bounds()
    t, still = stratified(near, far, 9, torch.rand(4000)), stratified(near, far, 9, torch.zeros(4000))[0]
    edges = torch.cat([still[:1], (still[1:] + still[:-1]) / 2, still[-1:]])
    place = (t - edges[:-1]) / (edges[1:] - edges[:-1])
    assert bool((place > -1e-5).all()) and bool((place < 1 + 1e-5).all())
    assert torch.allclose(place.mean(0), torch.full((9,), 0.5), atol=0.02)
    assert torch.allclose(place.std(0), torch.full((9,), 12**-0.5), atol=0.02)


def test_rays_are_jittered_one_by_one() -> None:
    near, far = bounds(2)
    t = stratified(near, far, 9, torch.tensor([0.0, 0.3]))
    assert torch.allclose(t[0], torch.linspace(2, 6, 9)) and not torch.allclose(t[1], t[0])


@pytest.mark.parametrize("kind", ["random", "empty", "one"])
def test_importance_is_that_of_the_reference(kind: str) -> None:
    t = torch.rand(20, 64).double().sort(1).values * 4 + 2
    weights = torch.zeros(20, 64).double() if kind == "empty" else torch.rand(20, 64).double() ** 8
    if kind == "one":
        weights = torch.nn.functional.one_hot(torch.randint(1, 63, (20,)), 64).double()
    found = sample_pdf(t, weights, 128, torch.zeros(20).double())
    for row in range(20):
        middles = ((t[row, 1:] + t[row, :-1]) / 2).numpy()
        expected = draw(middles, weights[row, 1:-1].numpy(), 128)
        np.testing.assert_allclose(found[row].numpy(), expected, atol=1e-9)


def test_importance_follows_the_weights() -> None:
    t = torch.linspace(0, 10, 11).expand(1, 11)
    weights = torch.tensor([[0.0, 0, 3, 0, 0, 1, 0, 0, 0, 0, 0]])
    new = sample_pdf(t, weights, 4000, torch.tensor([0.4]))[0]
    assert ((new > 1.5) & (new < 2.5)).float().mean() == pytest.approx(0.75, abs=0.01)
    assert ((new > 4.5) & (new < 5.5)).float().mean() == pytest.approx(0.25, abs=0.01)
    assert bool((new.diff() >= 0).all())


def test_intervals_end_far_away() -> None:
    dt = intervals(torch.tensor([[1.0, 2.0, 4.0]]))
    assert dt.tolist() == [[1.0, 2.0, 1e10]]
