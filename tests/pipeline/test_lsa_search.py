"""Limits for fields that are tuned: the search looks through the whole range and names the end that it failed at."""

import pytest
import torch

from nerfcomp.errors import NerfcompError
from nerfcomp.pipeline import SceneInfo, TrainedField
from nerfcomp.pipeline.encoding import COARSEST_QP, FINEST_QP, Planner
from nerfcomp.pipeline.lsa_search import qp_for_bytes, qp_for_drop
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
    trained = TrainedField(field.eval(), sampler.eval(), scene)
    with pytest.raises(NerfcompError, match=f"at QP {COARSEST_QP}, the coarsest, it has .* Raise target_bytes"):
        qp_for_bytes(trained, Planner(trained, uniform=True), 10)
