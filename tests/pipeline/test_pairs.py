"""Sensitivities of the coarse network leave the sampler as it was."""

import torch

from nerfcomp.pipeline import SceneInfo, TrainedField
from nerfcomp.pipeline.pairs import coarse_sensitivity
from nerfcomp.pipeline.plan import random_rays
from nerfcomp.rendering import HierarchicalSampler
from tests.modules.tiny_fields import data, tiny_pair


def test_what_each_network_calls_empty_stays_known() -> None:
    field, sampler = tiny_pair()
    assert isinstance(sampler, HierarchicalSampler)
    scene = SceneInfo.from_scene(data().split("train"))
    sampler.prepare(torch.tensor(scene.aabb))
    sampler.set_occupied(torch.rand(sampler.occupied.shape) < 0.5)
    sampler.coarse_occupied.copy_(torch.rand(sampler.occupied.shape) < 0.5)
    fine, coarse = sampler.occupied.clone(), sampler.coarse_occupied.clone()
    trained = TrainedField(field.eval(), sampler.eval(), scene)
    generator = torch.Generator().manual_seed(0)
    found = coarse_sensitivity(trained, random_rays(trained, 16, generator), generator)
    assert any(value.max() > 0 for value in found.values())
    assert torch.equal(sampler.occupied, fine) and torch.equal(sampler.coarse_occupied, coarse)
