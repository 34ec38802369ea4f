"""Views of meshes against the tracer of the procedural solids."""

import numpy as np
import pytest
import torch

from nerfcomp.evaluation.mesh_views import mesh_view, seen_by_views, silhouette_iou
from nerfcomp.geometry.meshes import Mesh
from nerfcomp.geometry.rays import image_rays
from nerfcomp.readers import ProceduralReader
from nerfcomp.readers.solid_distances import solid_distance
from nerfcomp.rendering.level_set import LevelSet, extract_mesh


def exact_mesh(reader: ProceduralReader) -> Mesh:
    box = torch.tensor([[-1.05] * 3, [1.05] * 3])
    return extract_mesh(LevelSet(lambda x: -solid_distance(reader.solids, x), 0.0), box, 96)


@pytest.mark.slow
def test_the_exact_mesh_looks_like_the_solids() -> None:
    reader = ProceduralReader(image_size=60, n_train=2, n_test=2)
    scene, mesh = reader.read("test"), exact_mesh(reader)
    assert min(silhouette_iou(mesh, scene)) > 0.97
    for view in range(2):
        drawn, truth = mesh_view(mesh, scene.camera, view), reader.surface(scene.camera, view)
        both = drawn.shown & (truth.solid >= 0).numpy()
        cosine = (drawn.normals * truth.normals.numpy()).sum(-1)[both]
        assert np.degrees(np.arccos(cosine.clip(-1, 1))).mean() < 6
        forward = -scene.camera.c2w[view, :, 2]
        along = (truth.depth * (image_rays(scene.camera, view, 0.0, 9.0).directions @ forward).view(60, 60)).numpy()
        assert np.abs(drawn.depth[both] - along[both]).mean() < 0.02


@pytest.mark.slow
def test_a_mesh_that_lacks_a_half_has_another_silhouette() -> None:
    reader = ProceduralReader(image_size=40, n_train=2, n_test=1)
    mesh = exact_mesh(reader)
    half = mesh._replace(faces=mesh.faces[mesh.vertices[mesh.faces][:, :, 0].max(1) < 0])
    assert silhouette_iou(half, reader.read("test"))[0] < 0.75


@pytest.mark.slow
def test_what_stands_behind_is_not_seen() -> None:
    reader = ProceduralReader(image_size=60, n_train=3, n_test=1)
    camera, points = reader.camera("train"), np.array([[0.0, 0.0, 0.95], [0.0, 0.0, -0.9], [40.0, 0.0, 0.0]])
    assert seen_by_views(points, exact_mesh(reader), camera, 0.02).tolist() == [True, False, False]
