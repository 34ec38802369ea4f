"""Which samples a surface is trained on, against a loop over rays."""

import torch

from nerfcomp.kernels.march import Samples
from nerfcomp.rendering.surface_samples import end_distances, weighty_samples


def gappy() -> tuple[Samples, torch.Tensor]:
    """Three rays, the middle one without samples; the first with a gap."""
    origins, d = torch.tensor([[0.0, 0, 0], [0, 0, 1], [1, 0, 0]]), torch.eye(3)
    t = torch.tensor([0.1, 0.3, 0.9, 0.5, 0.7])
    ray = torch.tensor([0, 0, 0, 2, 2])
    return Samples(origins[ray] + d[ray] * t[:, None], t, torch.full((5,), 0.2), ray, torch.tensor([0, 3, 3, 5])), d


def test_ends_are_asked_for_once() -> None:
    samples, d = gappy()
    asked = []

    def sdf(x: torch.Tensor) -> torch.Tensor:
        asked.append(len(x))
        return (x * torch.tensor([1.0, 2.0, 3.0])).sum(1)

    before, after = end_distances(samples, d, sdf)
    half = d[samples.ray_indices] * 0.1
    torch.testing.assert_close(before, sdf(samples.x - half))
    torch.testing.assert_close(after, sdf(samples.x + half))
    assert asked[0] == 5 + 3  # the ends of the gap and of two rays


def test_weights_decide_and_not_opacities() -> None:
    samples, _ = gappy()
    alpha = torch.tensor([0.5, 0.999, 0.9, 0.001, 0.5])
    kept = weighty_samples(samples, alpha, 0.01)  # weights 0.5, 0.4995, 0.00045, 0.001, 0.4995
    assert kept.t.tolist() == samples.t[[0, 1, 4]].tolist() and kept.offsets.tolist() == [0, 2, 2, 3]


def test_no_samples() -> None:
    none = Samples(torch.zeros(0, 3), torch.zeros(0), torch.zeros(0), torch.zeros(0).long(), torch.zeros(3).long())
    before, after = end_distances(none, torch.zeros(2, 3), lambda x: x[:, 0])
    assert len(before) == len(after) == 0
    assert weighty_samples(none, before, 0.1).offsets.tolist() == [0, 0, 0]
