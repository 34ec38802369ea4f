"""Fewer pixels of the same views."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nerfcomp.artifacts.artifact import SceneArtifact
from nerfcomp.artifacts.convention import as_trained
from nerfcomp.artifacts.scene_info import SceneInfo
from nerfcomp.errors import DivergedError, SceneError
from nerfcomp.evaluation.report import mean_result
from nerfcomp.evaluation.sweep import run_sweep
from nerfcomp.evaluation.views import evaluate_views, mean_psnr, thinned
from nerfcomp.geometry.rays import image_rays
from nerfcomp.rate_control.targets import COARSEST_QP, FINEST_QP, RateTarget, encode_for
from nerfcomp.readers import ProceduralReader, Scene, Split
from tests.teacher import tiny_teacher


@pytest.mark.parametrize("stride", [1, 2, 3, 5])
def test_thinned_views_show_the_same_pixels_along_the_same_rays(stride: int) -> None:
    scene = ProceduralReader(image_size=16, n_train=2, n_val=1, n_test=2, supersampling=1).read("test")
    fewer = thinned(scene, stride)
    assert torch.equal(fewer.images, scene.images[:, stride // 2 :: stride, stride // 2 :: stride])
    for view in range(2):
        rays, some = (image_rays(s.camera, view, s.near, s.far) for s in (scene, fewer))
        shape = (scene.camera.height, scene.camera.width, 3)
        expected = rays.directions.view(shape)[stride // 2 :: stride, stride // 2 :: stride].reshape(-1, 3)
        torch.testing.assert_close(some.directions, expected, atol=1e-6, rtol=0)
        assert torch.equal(some.origins, rays.origins[: len(some.origins)])


def test_views_are_marched_as_in_training() -> None:
    trained = tiny_teacher()
    scene = ProceduralReader(image_size=8, n_train=2, n_val=1, n_test=1, supersampling=1).read("test")
    marched = as_trained(scene._replace(near=0.5, far=99.0), trained.scene)
    assert (marched.near, marched.far) == (trained.scene.near, trained.scene.far)
    with pytest.raises(SceneError, match="ndc=True"):
        as_trained(scene._replace(ndc=True), trained.scene)


def test_nothing_left() -> None:
    scene = ProceduralReader(image_size=8, n_train=2, n_val=1, n_test=1, supersampling=1).read("test")
    with pytest.raises(ValueError, match="leaves nothing"):
        thinned(scene, 16)


def test_weights_that_have_diverged_are_not_measured() -> None:
    trained = tiny_teacher()
    with torch.no_grad():
        for parameter in trained.field.parameters():
            parameter.fill_(float("nan"))
    scene = ProceduralReader(image_size=8, n_train=2, n_val=1, n_test=1, supersampling=1).read("test")
    with pytest.raises(DivergedError, match="not finite"):
        evaluate_views(trained, scene)


def test_psnr_inside_masks_is_that_of_these_pixels(tmp_path: Path) -> None:
    trained = tiny_teacher()
    scene = ProceduralReader(image_size=16, n_train=2, n_val=1, n_test=2, supersampling=1).read("test")
    evaluate_views(trained, scene, pictures=tmp_path)
    found = evaluate_views(trained, scene, masked=True)
    for number, result in enumerate(found):
        with Image.open(tmp_path / f"{number:03d}.png") as picture:
            drawn = np.asarray(picture, np.float64) / 255
        rgba = scene.images[number].double().numpy() / 255
        true = rgba[..., :3] * rgba[..., 3:] + np.array(trained.scene.background) * (1 - rgba[..., 3:])
        inside = rgba[..., 3] > 0.5
        assert 10 < inside.sum() < 240
        assert result.psnr == pytest.approx(-10 * np.log10(np.square(drawn - true)[inside].mean()), abs=0.05)


class Elsewhere(ProceduralReader):
    """A reader that would march behind the scene."""

    def __init__(self) -> None:
        super().__init__(image_size=8, n_train=2, n_val=1, n_test=1, supersampling=1)

    def read(self, split: Split) -> Scene:
        return super().read(split)._replace(near=100.0, far=200.0)


@pytest.fixture(scope="module")
def solid() -> SceneArtifact:
    """A field that every ray hits, marched where it is."""
    trained = tiny_teacher()
    scene = ProceduralReader(image_size=8, n_train=2, n_val=1, n_test=1, supersampling=1).read("train")
    return trained.replace(scene=SceneInfo.from_scene(scene)._replace(near=2.0, far=6.0, aabb=trained.scene.aabb))


@pytest.mark.slow
def test_sweeps_and_limits_see_what_evaluation_sees(solid: SceneArtifact, tmp_path: Path) -> None:
    right, wrong = Elsewhere().read("test")._replace(near=2.0, far=6.0), Elsewhere()
    expected = mean_result(evaluate_views(solid, right)).psnr
    assert run_sweep(solid, wrong.read("test"), tmp_path, [-20], uniform=True)[0].psnr == expected
    container = encode_for(solid, RateTarget(uniform=True, max_psnr_drop=0.05), mean_psnr(wrong.read("train")))
    assert FINEST_QP < container.header["provenance"]["qp"] < COARSEST_QP


def test_pictures_of_nothing_are_reported(solid: SceneArtifact, caplog: pytest.LogCaptureFixture) -> None:
    scene = Elsewhere().read("test")
    evaluate_views(solid, scene)
    assert not caplog.records
    evaluate_views(solid.replace(scene=solid.scene._replace(near=100.0, far=200.0)), scene)
    assert "Nothing was hit: between 100 and 200" in caplog.text
