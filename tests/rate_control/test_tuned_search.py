"""Limits for fields that are tuned: the search looks through the whole range and names the end that it failed at."""

import pytest
import torch

from nerfcomp.artifacts.radiance_field import RadianceFieldArtifact
from nerfcomp.artifacts.scene_info import SceneInfo
from nerfcomp.errors import NerfcompError
from nerfcomp.rate_control.allocator import Allocator
from nerfcomp.rate_control.targets import COARSEST_QP, FINEST_QP
from nerfcomp.rate_control.tuned_search import qp_for_drop, tuned_qp_for_bytes
from nerfcomp.rendering import HierarchicalSampler
from tests.modules.tiny_fields import data, tiny_pair


@pytest.mark.parametrize("border", [FINEST_QP, -41, -8, -3, COARSEST_QP])
def test_the_coarsest_qp_is_found_anywhere_in_the_range(border: int) -> None:
    assert qp_for_drop(lambda qp: 0.1 if qp <= border else 9.0, 0.5) == border


def test_a_limit_in_db_that_cannot_be_met_names_the_finest_qp() -> None:
    with pytest.raises(NerfcompError, match=f"QP {FINEST_QP}, the finest.*max_psnr_drop"):
        qp_for_drop(lambda _: 9.0, 0.5)


def test_a_limit_in_bytes_that_cannot_be_met_names_the_coarsest_qp() -> None:
    field, sampler = tiny_pair()
    assert isinstance(sampler, HierarchicalSampler)
    scene = SceneInfo.from_scene(data().split("train"))
    field.set_aabb(torch.tensor(scene.aabb))
    sampler.prepare(torch.tensor(scene.aabb))
    trained = RadianceFieldArtifact(field=field.eval(), sampler=sampler.eval(), scene=scene)
    with pytest.raises(NerfcompError, match=f"at QP {COARSEST_QP}, the coarsest, it has .* Raise target_bytes"):
        tuned_qp_for_bytes(trained, Allocator(trained, uniform=True), 10)
