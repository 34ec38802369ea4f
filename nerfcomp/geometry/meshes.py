"""Triangle meshes: V vertices, F faces, counter-clockwise seen from outside."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Float = NDArray[np.float64]


class Mesh(NamedTuple):
    """A triangle mesh.

    Attributes:
        vertices: (V, 3) float64.
        faces: (F, 3) int64, indices of vertices.
        colors: (V, 3) uint8, or none.
    """

    vertices: Float
    faces: NDArray[np.int64]
    colors: NDArray[np.uint8] | None = None


def face_normals(mesh: Mesh) -> Float:
    """(F, 3) normals of the faces, twice their area long.

    >>> face_normals(Mesh(np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]), np.array([[0, 1, 2]]))).tolist()
    [[0.0, 0.0, 1.0]]
    """
    a, b, c = (mesh.vertices[mesh.faces[:, corner]] for corner in range(3))
    normals: Float = np.cross(b - a, c - a).astype(np.float64, copy=False)
    return normals


def vertex_normals(mesh: Mesh) -> Float:
    """(V, 3) unit normals of the vertices: those of their faces, weighted by area; zero where a vertex has no face."""
    normals = face_normals(mesh)
    total = np.zeros_like(mesh.vertices)
    for axis in range(3):
        for corner in range(3):
            total[:, axis] += np.bincount(mesh.faces[:, corner], normals[:, axis], len(total))
    unit: Float = total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-300)
    return unit


def kept_faces(mesh: Mesh, keep: NDArray[np.bool_]) -> Mesh:
    """Keep some faces, and the vertices that they need.

    Args:
        mesh: Any mesh.
        keep: (F,).
    """
    faces = mesh.faces[keep]
    used = np.zeros(len(mesh.vertices), bool)
    used[faces] = True
    number = np.cumsum(used) - 1
    colors = None if mesh.colors is None else mesh.colors[used]
    return Mesh(mesh.vertices[used], number[faces], colors)


def largest_component(mesh: Mesh) -> Mesh:
    """Keep the connected part with the largest area; a mesh without faces stays as it is.

    >>> far = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [9, 0, 0], [9.1, 0, 0], [9, 0.1, 0]])
    >>> largest_component(Mesh(far, np.array([[0, 1, 2], [3, 4, 5]]))).faces.tolist()
    [[0, 1, 2]]
    """
    if not len(mesh.faces):
        return mesh
    start, end = mesh.faces[:, [0, 1]].ravel(), mesh.faces[:, [1, 2]].ravel()
    size = len(mesh.vertices)
    graph = coo_array((np.ones(len(start), bool), (start, end)), shape=(size, size))
    _, label = connected_components(graph, directed=False)
    part = label[mesh.faces[:, 0]]
    area = np.bincount(part, np.linalg.norm(face_normals(mesh), axis=1))
    return kept_faces(mesh, part == int(area.argmax()))


def moved(mesh: Mesh, matrix: Float) -> Mesh:
    """Map the vertices by scale, turn and shift.

    Args:
        mesh: Any mesh.
        matrix: (4, 4), not mirroring.
    """
    return mesh._replace(vertices=mesh.vertices @ matrix[:3, :3].T + matrix[:3, 3])


def sampled(mesh: Mesh, count: int, seed: int = 0) -> tuple[Float, NDArray[np.int64]]:
    """Draw points evenly by area.

    Args:
        mesh: A mesh with faces.
        count: Number of points N.
        seed: Of the draw.

    Returns:
        (N, 3) points and (N,) the faces they lie on.

    Raises:
        ValueError: The mesh has no area.
    """
    area = np.linalg.norm(face_normals(mesh), axis=1)
    if not area.sum() > 0:
        raise ValueError("A mesh without area has no surface to draw points from.")
    generator = np.random.default_rng(seed)
    total = np.cumsum(area)
    face = np.searchsorted(total, generator.random(count) * total[-1], side="right").clip(max=len(area) - 1)
    u, v = np.sqrt(generator.random(count)), generator.random(count)
    weights = np.stack([1 - u, u * (1 - v), u * v], 1)
    return np.einsum("nc,ncd->nd", weights, mesh.vertices[mesh.faces[face]]), face
