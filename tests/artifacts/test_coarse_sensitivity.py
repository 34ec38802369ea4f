"""Sensitivities of the coarse network leave the sampler as it was."""

import pytest
import torch

from nerfcomp.artifacts.radiance_field import RadianceFieldArtifact
from nerfcomp.artifacts.scene_info import SceneInfo
from nerfcomp.rendering import HierarchicalSampler
from tests.modules.tiny_fields import data, tiny_pair


@pytest.mark.slow
def test_what_each_network_calls_empty_stays_known() -> None:
    field, sampler = tiny_pair()
    assert isinstance(sampler, HierarchicalSampler)
    scene = SceneInfo.from_scene(data().split("train"))
    sampler.prepare(torch.tensor(scene.aabb))
    sampler.set_occupied(torch.rand(sampler.occupied.shape) < 0.5)
    sampler.coarse_occupied.copy_(torch.rand(sampler.occupied.shape) < 0.5)
    fine, coarse = sampler.occupied.clone(), sampler.coarse_occupied.clone()
    trained = RadianceFieldArtifact(field=field.eval(), sampler=sampler.eval(), scene=scene)
    found = trained.sensitivity(batches=1, rays_per_batch=16)
    assert any(value.max() > 0 for name, value in found.items() if field.steers(name))
    assert torch.equal(sampler.occupied, fine) and torch.equal(sampler.coarse_occupied, coarse)
