"""Fewer pixels of the same views."""

import pytest
import torch

from nerfcomp.errors import SceneError
from nerfcomp.pipeline.evaluate import as_trained, thinned
from nerfcomp.rays import image_rays
from nerfcomp.readers import ProceduralReader
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
    marched = as_trained(scene._replace(near=0.5, far=99.0), trained)
    assert (marched.near, marched.far) == (trained.scene.near, trained.scene.far)
    with pytest.raises(SceneError, match="ndc=True"):
        as_trained(scene._replace(ndc=True), trained)


def test_nothing_left() -> None:
    scene = ProceduralReader(image_size=8, n_train=2, n_val=1, n_test=1, supersampling=1).read("test")
    with pytest.raises(ValueError, match="leaves nothing"):
        thinned(scene, 16)
