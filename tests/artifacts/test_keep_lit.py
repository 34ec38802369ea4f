"""Cells that no known view shows are called empty: inside of solids, behind them, and nowhere else."""

import pytest
import torch
from torch import Tensor

from nerfcomp.artifacts.artifact import Artifact
from nerfcomp.artifacts.nfc import decode_artifact, encode_artifact, uniform_allocation
from nerfcomp.artifacts.radiance_field import RadianceFieldArtifact
from nerfcomp.fields.base import Shade
from nerfcomp.kernels.march.bricks import fill_inner
from nerfcomp.rate_control.targets import RateTarget, encode_for
from nerfcomp.rendering.emptiness import dilated
from tests.artifacts.test_nfc import ball
from tests.artifacts.test_volume import trained as volume


@pytest.fixture
def solid() -> RadianceFieldArtifact:
    """A ball of seven cells' radius that nothing shines through; its colour is where it is hit."""
    trained = ball(0.9)

    def shade(x: Tensor, d: Tensor, dt: Tensor) -> Shade:
        return Shade(torch.ones(len(x)), (x * 0.5 + 0.5).clamp(0, 1))

    trained.field.shade = shade  # type: ignore[method-assign]
    trained.field.alpha = lambda x, d, dt: torch.ones(len(x))  # type: ignore[method-assign]
    return trained


def drawn(trained: RadianceFieldArtifact, seed: int) -> Tensor:
    return trained.render(trained.random_rays(2000, torch.Generator().manual_seed(seed))).rgb


@pytest.mark.slow
def test_the_inside_of_a_solid_becomes_empty_and_pictures_stay(solid: RadianceFieldArtifact) -> None:
    before, shown = solid.sampler.occupied.clone(), drawn(solid, 5)
    size = len(encode_artifact(solid, uniform_allocation(solid, -36)).to_bytes())
    solid.keep_lit()
    after = solid.sampler.occupied
    assert bool(before[0, 4:12, 4:12, 4:12].all()) and not bool(after[0, 6:10, 6:10, 6:10].any())
    assert not bool((after & ~before).any()) and int(after.sum()) > 200
    assert torch.equal(drawn(solid, 5), shown)
    assert len(encode_artifact(solid, uniform_allocation(solid, -36)).to_bytes()) < size


def test_one_known_pose_says_nothing_of_the_other_side(solid: RadianceFieldArtifact) -> None:
    before = solid.sampler.occupied.clone()
    solid.replace(scene=solid.scene._replace(poses=solid.scene.poses[:1])).keep_lit()
    assert torch.equal(solid.sampler.occupied, before)


@pytest.mark.slow
def test_a_file_may_leave_out_what_no_view_shows(solid: RadianceFieldArtifact, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nerfcomp.artifacts.radiance_field._LIGHTS_ALONE", 32)
    before = solid.sampler.occupied.clone()
    files = [encode_for(solid, RateTarget(qp=-20, uniform=True, drop_unseen=dropped)) for dropped in (False, True)]
    assert torch.equal(solid.sampler.occupied, before)
    decoded = decode_artifact(files[1])
    solid.keep_lit()
    assert isinstance(decoded, RadianceFieldArtifact)
    assert torch.equal(decoded.sampler.occupied, solid.sampler.occupied)
    assert len(files[1].to_bytes()) < len(files[0].to_bytes())


def test_a_limit_in_db_counts_what_was_dropped(solid: RadianceFieldArtifact, monkeypatch: pytest.MonkeyPatch) -> None:
    def quality(trained: Artifact) -> float:
        assert isinstance(trained, RadianceFieldArtifact)
        return float(trained.sampler.occupied.sum())

    monkeypatch.setattr("nerfcomp.artifacts.radiance_field._LIGHTS_ALONE", 32)
    with pytest.raises(ValueError, match="The target cannot be met"):
        encode_for(solid, RateTarget(uniform=True, max_psnr_drop=1.0, drop_unseen=True), quality)


def test_what_says_nothing_of_empty_space_has_nothing_to_drop(solid: RadianceFieldArtifact) -> None:
    alone = solid.replace(scene=solid.scene._replace(poses=solid.scene.poses[:1]))
    for given, reason in ((alone, "know from where they were trained"), (volume(), "a volume do not")):
        with pytest.raises(ValueError, match=reason):
            encode_for(given, RateTarget(drop_unseen=True))


@pytest.mark.parametrize(("alpha", "shows"), [(5e-4, False), (0.2, True)])
def test_what_weighs_next_to_nothing_does_not_show(alpha: float, shows: bool, solid: RadianceFieldArtifact) -> None:
    solid.field.alpha = lambda x, d, dt: torch.full((len(x),), alpha)  # type: ignore[method-assign]
    solid.keep_lit()
    assert bool(solid.sampler.occupied.any()) == shows


def test_neighbours_of_lit_cells_show_across_the_border_of_a_cascade() -> None:
    lit = torch.zeros(2, 8, 8, 8, dtype=torch.bool)
    lit[0, 7, 4, 4] = True  # at the border of the inner cube, which is cells 2 to 5 of the outer one
    lit = dilated(fill_inner(lit))
    assert int(lit[0].sum()) == 18
    assert bool(lit[1, 6, 4, 4]) and not bool(lit[1, 7].any())


def test_views_may_look_a_little_beyond_the_borders_of_known_pictures() -> None:
    trained = ball()
    trained = trained.replace(scene=trained.scene._replace(poses=trained.scene.poses[:1]))
    axis = -torch.tensor(trained.scene.poses[0]).view(3, 4)[:, 2]

    def widest(margin: float) -> float:
        rays = trained.random_rays(4000, torch.Generator().manual_seed(0), margin)
        along = rays.directions @ axis
        across = (rays.directions - along.unsqueeze(1) * axis).norm(dim=1)
        return float((across / along).max())

    assert widest(0.25) / widest(0.0) == pytest.approx(1.5, abs=0.15)
