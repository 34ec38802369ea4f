"""What was seen to be opaque hides what is behind it, and nothing else."""

import torch

from nerfcomp.kernels.march import Samples
from nerfcomp.rendering.surface_memory import SurfaceMemory

BOX = torch.tensor([[-1.0] * 3, [1.0] * 3])


def ray_along_x(y: float, count: int = 8) -> Samples:
    """One sample in the middle of each of eight cells."""
    x = torch.full((count, 3), y)
    x[:, 0] = (torch.arange(count) + 0.5) * 2 / count - 1
    ray = torch.zeros(count, dtype=torch.int64)
    return Samples(x, x[:, 0] + 1, torch.full((count,), 2 / count), ray, torch.tensor([0, count]))


def test_nothing_is_hidden_before_anything_was_seen() -> None:
    samples = ray_along_x(0.1)
    assert SurfaceMemory(resolution=8).lit(samples, BOX).t.tolist() == samples.t.tolist()


def test_samples_behind_a_surface_are_dropped_and_those_in_it_stay() -> None:
    memory, samples = SurfaceMemory(resolution=8), ray_along_x(0.1)
    alpha = torch.zeros(8)
    alpha[3:5] = 0.9999
    for _ in range(30):
        memory.record(samples, alpha, BOX)
    lit = memory.lit(samples, BOX)
    assert lit.t.tolist() == samples.t[:5].tolist() and lit.offsets.tolist() == [0, 5]
    beside = ray_along_x(0.6)
    assert memory.lit(beside, BOX).t.tolist() == beside.t.tolist()


def test_what_became_transparent_is_forgotten() -> None:
    memory, samples = SurfaceMemory(resolution=8), ray_along_x(0.1)
    memory.record(samples, torch.full((8,), 0.9999), BOX)
    for _ in range(12):
        memory.record(samples, torch.zeros(8), BOX)
    assert len(memory.lit(samples, BOX).t) == 8
