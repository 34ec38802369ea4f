"""What a mesh is worth against a surface that is known: an exact distance function, or points on it.

Notation: *accuracy* is the distance from the mesh to the reference, *completeness* that from the reference to the mesh;
their mean is the Chamfer distance as DTU counts it.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor

from nerfcomp.geometry.meshes import Mesh, face_normals, sampled
from nerfcomp.rendering.level_set import LevelSet, extract_mesh

Float = NDArray[np.float64]
_POINTS = 200_000
_NEIGHBOURS = 8  # faces whose distance to a point is found exactly


class MeshQuality(NamedTuple):
    """Errors of a mesh, in its units of length and in degrees.

    Attributes:
        accuracy: Mean distance from the mesh to the reference.
        completeness: Mean distance from the reference to the mesh.
        chamfer: Mean of both.
        f_score: Harmonic mean of the shares of both within the tolerance.
        normal_error: Mean angle between the normals of the mesh and those of the reference, where these are known.
        median: Median distance from the reference to the mesh.
    """

    accuracy: float
    completeness: float
    chamfer: float
    f_score: float
    normal_error: float | None = None
    median: float = 0.0


def distances_to_mesh(points: Float, mesh: Mesh, samples: int = _POINTS) -> Float:
    """Distances from points to the triangles of a mesh.

    They are exact up to the choice of triangles: those with the nearest few middles, and those under the nearest few of
    many points drawn on the mesh, which find large triangles.

    Args:
        points: (N, 3).
        mesh: With faces.
        samples: Number of points drawn.

    Returns:
        (N,).
    """
    drawn, face = sampled(mesh, samples)
    middles = mesh.vertices[mesh.faces].mean(1)
    count = min(_NEIGHBOURS, len(middles))
    under: NDArray[np.int64] = face[cKDTree(drawn).query(points, _NEIGHBOURS)[1]]
    about: NDArray[np.int64] = cKDTree(middles).query(points, [*range(1, count + 1)])[1]
    best = np.full(len(points), np.inf)
    for chosen in np.concatenate([under, about], 1).T:
        best = np.minimum(best, triangle_distances(points, mesh.vertices[mesh.faces[chosen]]))
    return best


def triangle_distances(points: Float, corners: Float) -> Float:
    """Distances (N,) from points (N, 3) to a triangle each, of corners (N, 3, 3).

    >>> corners = np.array([[[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]]).repeat(2, 0)
    >>> triangle_distances(np.array([[0.2, 0.2, 3.0], [-3.0, 0.0, 4.0]]), corners).tolist()
    [3.0, 5.0]
    """
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    normal = np.cross(b - a, c - a)
    length = np.linalg.norm(normal, axis=1)
    unit = normal / np.maximum(length, 1e-300)[:, None]
    height = np.einsum("nd,nd->n", points - a, unit)
    edges = [_segment_distances(points, start, end) for start, end in ((a, b), (b, c), (c, a))]
    sides = [
        np.einsum("nd,nd->n", np.cross(unit, end - start), points - start) for start, end in ((a, b), (b, c), (c, a))
    ]
    inside = (np.min(sides, axis=0) >= 0) & (length > 0)
    return np.where(inside, np.abs(height), np.min(edges, axis=0))


def _segment_distances(points: Float, start: Float, end: Float) -> Float:
    along = end - start
    square = np.maximum(np.einsum("nd,nd->n", along, along), 1e-300)
    t = (np.einsum("nd,nd->n", points - start, along) / square).clip(0, 1)
    found: Float = np.linalg.norm(points - start - t[:, None] * along, axis=1)
    return found


def quality(to_reference: Float, to_mesh: Float, tolerance: float, normal_error: float | None = None) -> MeshQuality:
    """Sum up distances.

    Args:
        to_reference: (N,) from points of the mesh.
        to_mesh: (K,) from points of the reference.
        tolerance: Distance that still counts as right, for the F-score.
        normal_error: See `MeshQuality`.
    """
    precision, recall = float((to_reference <= tolerance).mean()), float((to_mesh <= tolerance).mean())
    f_score = 2 * precision * recall / max(precision + recall, 1e-12)
    accuracy, completeness = float(to_reference.mean()), float(to_mesh.mean())
    median = float(np.median(to_mesh)) if len(to_mesh) else 0.0
    return MeshQuality(accuracy, completeness, (accuracy + completeness) / 2, f_score, normal_error, median)


def compare_with_points(mesh: Mesh, points: Float, tolerance: float, samples: int = _POINTS) -> MeshQuality:
    """Measure a mesh against a cloud of points on the true surface."""
    drawn, _ = sampled(mesh, samples)
    to_points: Float = cKDTree(points).query(drawn)[0]
    return quality(to_points, distances_to_mesh(points, mesh, samples), tolerance)


def compare_with_distance(
    mesh: Mesh,
    distance_fn: Callable[[Tensor], Tensor],
    aabb: Tensor,
    tolerance: float,
    seen_fn: Callable[[Float], NDArray[np.bool_]] | None = None,
    samples: int = _POINTS,
    resolution: int = 192,
) -> MeshQuality:
    """Measure a mesh against a surface whose distance is known exactly.

    Args:
        mesh: In the space of the distance.
        distance_fn: Signed distances (M,) at positions (M, 3), float64; differentiable.
        aabb: (2, 3) box around the surface.
        tolerance: For the F-score.
        seen_fn: Which of some points on either surface (N, 3) count; all when absent.
        samples: Points drawn on either surface.
        resolution: Of the grid by which points on the true surface are found, before they are moved onto it.
    """
    drawn, face = sampled(mesh, samples)
    true_points, _ = _on_surface(
        distance_fn, sampled(extract_mesh(LevelSet(lambda x: -distance_fn(x), 0.0, 1.0), aabb, resolution), samples)[0]
    )
    if seen_fn is not None:
        kept = seen_fn(drawn)
        drawn, face = drawn[kept], face[kept]
        true_points = true_points[seen_fn(true_points)]
    to_reference = np.abs(_values(distance_fn, drawn))
    normals = face_normals(mesh)[face]
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-300)
    cosine = np.einsum("nd,nd->n", normals, _on_surface(distance_fn, drawn)[1]).clip(-1, 1)
    angle = float(np.degrees(np.arccos(cosine)).mean())
    return quality(to_reference, distances_to_mesh(true_points, mesh, samples), tolerance, angle)


def _values(distance_fn: Callable[[Tensor], Tensor], points: Float) -> Float:
    with torch.no_grad():
        found: Float = distance_fn(torch.from_numpy(points)).numpy()
    return found


def _on_surface(distance_fn: Callable[[Tensor], Tensor], points: Float) -> tuple[Float, Float]:
    """Move points (N, 3) along the gradient onto the surface; and the unit normals there."""
    x = torch.from_numpy(points)
    for _ in range(3):
        x = x.detach().requires_grad_()
        value = distance_fn(x)
        (gradient,) = torch.autograd.grad(value.sum(), x)
        x = x - value.detach()[:, None] * gradient
    return x.detach().numpy(), torch.nn.functional.normalize(gradient, dim=1).numpy()
