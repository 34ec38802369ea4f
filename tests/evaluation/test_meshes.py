"""Meshes with known errors."""

import numpy as np
import pytest
import torch
from torch import Tensor

from nerfcomp.evaluation.meshes import compare_with_distance, compare_with_points, distances_to_mesh, triangle_distances
from nerfcomp.geometry.meshes import Mesh, sampled
from nerfcomp.geometry.rays import image_rays
from nerfcomp.readers import ProceduralReader
from nerfcomp.readers.solid_distances import solid_distance
from nerfcomp.readers.solids import trace
from nerfcomp.rendering.level_set import LevelSet, extract_mesh

BOX = torch.tensor([[-1.0] * 3, [1.0] * 3])


def ball(radius: float) -> Mesh:
    return extract_mesh(LevelSet(lambda x: radius - torch.linalg.vector_norm(x, dim=1), 0.0), BOX, 64)


def distance(x: Tensor) -> Tensor:
    found: Tensor = torch.linalg.vector_norm(x, dim=1) - 0.6
    return found


@pytest.mark.slow
def test_a_ball_that_is_too_large_is_wrong_by_the_difference() -> None:
    found = compare_with_distance(ball(0.65), distance, BOX, 0.06, samples=20_000, resolution=48)
    assert found.accuracy == pytest.approx(0.05, abs=1e-3) and found.completeness == pytest.approx(0.05, abs=1e-3)
    assert found.f_score == 1.0 and found.normal_error is not None and found.normal_error < 2.5
    strict = compare_with_distance(ball(0.65), distance, BOX, 0.04, samples=20_000, resolution=48)
    assert strict.f_score == 0.0


@pytest.mark.slow
def test_what_is_lacking_counts_on_one_side() -> None:
    whole = ball(0.6)
    upper = whole._replace(faces=whole.faces[whole.vertices[whole.faces][:, :, 2].min(1) > 0])
    found = compare_with_distance(upper, distance, BOX, 0.01, samples=20_000, resolution=48)
    assert found.accuracy < 1e-3 and found.completeness > 0.1
    assert found.f_score == pytest.approx(2 / 3, abs=0.02)
    seen = compare_with_distance(upper, distance, BOX, 0.01, lambda p: p[:, 2] > 0.05, 20_000, 48)
    assert seen.completeness < 1e-3 and seen.f_score == 1.0


@pytest.mark.slow
def test_points_may_be_the_reference() -> None:
    direction = np.random.default_rng(0).normal(size=(20_000, 3))
    points = 0.6 * direction / np.linalg.norm(direction, axis=1, keepdims=True)
    found = compare_with_points(ball(0.58), points, 0.03, samples=20_000)
    assert found.completeness == pytest.approx(0.02, abs=1e-3) and 0.02 < found.accuracy < 0.03


def test_distances_to_triangles_are_the_least_over_their_points() -> None:
    generator = np.random.default_rng(1)
    points, corners = generator.normal(size=(50, 3)), generator.normal(size=(50, 3, 3))
    weights = generator.dirichlet([0.5] * 3, 20_000)
    dense = np.linalg.norm(points[:, None] - np.einsum("kc,ncd->nkd", weights, corners), axis=2).min(1)
    found = triangle_distances(points, corners)
    assert (found <= dense + 1e-9).all() and (dense - found).max() < 0.03


def test_distances_to_a_mesh_are_exact_between_its_vertices() -> None:
    square = Mesh(np.array([[0.0, 0, 0], [4, 0, 0], [0, 4, 0], [4, 4, 0]]), np.array([[0, 1, 2], [1, 3, 2]]))
    points = np.array([[1.3, 2.2, 0.5], [5.0, 2.0, 0.0], [3.9, 3.9, -0.25]])
    np.testing.assert_allclose(distances_to_mesh(points, square, 2000), [0.5, 1.0, 0.25])


def test_distances_are_exact_where_triangles_are_more_than_drawn_points() -> None:
    mesh = ball(0.6)
    points, _ = sampled(mesh, 500, seed=1)
    assert len(mesh.faces) > 5000 and distances_to_mesh(points, mesh, 200).max() < 1e-9


@pytest.mark.parametrize("seed", [0, 3])
def test_rays_end_where_distances_vanish_with_the_same_normals(seed: int) -> None:
    """The ray tracer and the distances are written twice; where rays hit, both must agree."""
    reader = ProceduralReader(image_size=24, n_train=2, seed=seed)
    rays = image_rays(reader.camera("train"), seed % 2, 0.0, 100.0)
    hits = trace(reader.solids, rays)
    hit = hits.solid >= 0
    x = (rays.origins.double() + hits.depth[:, None] * torch.nn.functional.normalize(rays.directions.double(), dim=1))[
        hit
    ]
    x.requires_grad_()
    value = solid_distance(reader.solids, x)
    (gradient,) = torch.autograd.grad(value.sum(), x)
    assert int(hit.sum()) > 50 and float(value.detach().abs().max()) < 1e-4
    assert float((gradient * hits.normals[hit]).sum(1).median()) > 0.9999
