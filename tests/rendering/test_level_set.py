"""Meshes of functions whose surface is known."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from nerfcomp.geometry.meshes import Mesh, face_normals, largest_component, moved, sampled, vertex_normals
from nerfcomp.rendering.level_set import LevelSet, extract_mesh, load_marching_cubes

BOX = torch.tensor([[-1.0, -1.2, -0.9], [1.1, 0.9, 1.2]])


def ball(x: Tensor, radius: float = 0.7) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(x, dim=1)
    return radius - length


def edges_used_once(mesh: Mesh) -> int:
    pairs = np.sort(np.concatenate([mesh.faces[:, [0, 1]], mesh.faces[:, [1, 2]], mesh.faces[:, [2, 0]]]), 1)
    return int((np.unique(pairs, axis=0, return_counts=True)[1] != 2).sum())


@pytest.mark.parametrize("block", [16, 64])
@pytest.mark.parametrize("slope", [None, 1.0])
def test_a_ball_becomes_a_closed_mesh_of_its_size(block: int, slope: float | None) -> None:
    mesh = extract_mesh(LevelSet(ball, 0.0, slope), BOX, 52, block)  # the last blocks reach beyond the box
    assert edges_used_once(mesh) == 0
    assert len(mesh.vertices) - 3 * len(mesh.faces) // 2 + len(mesh.faces) == 2
    np.testing.assert_allclose(np.linalg.norm(mesh.vertices, axis=1), 0.7, atol=1e-3)
    corners = mesh.vertices[mesh.faces]
    volume = np.einsum("fi,fi->f", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum() / 6
    assert volume == pytest.approx(4 / 3 * math.pi * 0.7**3, rel=0.01)  # above 0: faces look outwards


def test_blocks_give_the_mesh_that_one_volume_gives() -> None:
    def bumpy(x: Tensor) -> Tensor:
        return (5 * x).sin().sum(1)

    mesh = extract_mesh(LevelSet(bumpy, 0.3), BOX, 48, 16)
    axes = [torch.linspace(float(low), float(high), 49) for low, high in BOX.T]
    points = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)
    vertices, faces, _, _ = load_marching_cubes()(bumpy(points.view(-1, 3)).view(49, 49, 49).numpy(), 0.3)
    assert len(faces) == pytest.approx(len(mesh.faces), rel=2e-3)  # a few degenerate ones are left out
    ours, theirs = (np.sort(v, 0) for v in (mesh.vertices, vertices * (2.1 / 48) + BOX[0].numpy()))
    assert len(ours) == pytest.approx(len(theirs), rel=2e-3)
    np.testing.assert_allclose(ours.mean(0), theirs.mean(0), atol=1e-3)


def test_only_what_is_allowed_is_evaluated() -> None:
    asked = []

    def value(x: Tensor) -> Tensor:
        asked.append(x)
        return ball(x)

    mesh = extract_mesh(LevelSet(value, 0.0, None, lambda x: x[:, 0] > 0), BOX, 64, 16)
    assert torch.cat(asked)[:, 0].min() > -0.3
    assert mesh.vertices[:, 0].min() > -0.3 and mesh.vertices[:, 0].max() > 0.69
    before = sum(map(len, asked))
    asked.clear()
    extract_mesh(LevelSet(value, 0.0, 1.0, lambda x: x[:, 0] > 0), BOX, 64, 16)
    assert sum(map(len, asked)) < 0.6 * before


def test_nothing_is_an_empty_mesh() -> None:
    mesh = extract_mesh(LevelSet(lambda x: -torch.ones(len(x)), 0.0), BOX, 16)
    assert mesh.vertices.shape == (0, 3) and largest_component(mesh).faces.shape == (0, 3)


def test_normals_colours_and_parts() -> None:
    def two(x: Tensor) -> Tensor:
        return torch.maximum(ball(x - torch.tensor([0.5, 0, 0]), 0.4), ball(x + torch.tensor([0.6, 0, 0]), 0.2))

    mesh = extract_mesh(LevelSet(two, 0.0), BOX, 64)
    mesh = largest_component(mesh._replace(colors=np.zeros((len(mesh.vertices), 3), np.uint8)))
    assert mesh.vertices[:, 0].min() > 0 and mesh.colors is not None and len(mesh.colors) == len(mesh.vertices)
    outward = (mesh.vertices - [0.5, 0, 0]) / 0.4
    assert (np.einsum("vi,vi->v", vertex_normals(mesh), outward) > 0.98).all()
    matrix = np.array([[0.0, -2, 0, 1], [2, 0, 0, 2], [0, 0, 2, 3], [0, 0, 0, 1]])
    twice = moved(mesh, matrix)
    assert np.linalg.norm(face_normals(twice), axis=1).sum() == pytest.approx(
        4 * np.linalg.norm(face_normals(mesh), axis=1).sum()
    )
    np.testing.assert_allclose(twice.vertices[0], matrix[:3, :3] @ mesh.vertices[0] + matrix[:3, 3])


def test_points_are_drawn_evenly_by_area() -> None:
    square = np.array([[0.0, 0, 0], [3, 0, 0], [0, 1, 0], [3, 1, 0]])
    points, face = sampled(Mesh(square, np.array([[0, 1, 2], [1, 3, 2]])), 20000)
    assert (points[:, 0] < 1).mean() == pytest.approx(1 / 3, abs=0.02) and (points[:, 2] == 0).all()
    assert (face == 1).mean() == pytest.approx(0.5, abs=0.02)
    with pytest.raises(ValueError, match="without area"):
        sampled(Mesh(square, np.zeros((0, 3), np.int64)), 3)


def test_impossible_grids_are_refused() -> None:
    with pytest.raises(ValueError, match="8 to 4096 cells"):
        extract_mesh(LevelSet(ball, 0.0), BOX, 5000)
