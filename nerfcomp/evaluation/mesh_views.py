"""Meshes as cameras see them: silhouettes, normals, depth."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from nerfcomp.geometry.cameras import Camera, project
from nerfcomp.geometry.meshes import Mesh, vertex_normals
from nerfcomp.kernels.rasterize import rasterize
from nerfcomp.readers.scene import Scene


class MeshView(NamedTuple):
    """One view of a mesh.

    Attributes:
        shown: (H, W) whether a pixel's centre sees the mesh.
        depth: (H, W) along the optical axis; infinite where nothing is seen.
        normals: (H, W, 3) unit, in the space of the mesh; zero where nothing is seen.
    """

    shown: NDArray[np.bool_]
    depth: NDArray[np.float64]
    normals: NDArray[np.float64]


def mesh_view(mesh: Mesh, camera: Camera, view: int) -> MeshView:
    """Draw a mesh; every triangle has the mean normal of its corners.

    Args:
        mesh: In the world of the camera.
        camera: Views.
        view: Which.
    """
    points = torch.from_numpy(mesh.vertices)
    wide = camera._replace(c2w=camera.c2w.double(), intrinsics=camera.intrinsics.double())
    wide = wide._replace(distortion=camera.distortion.double())
    where = project(wide, torch.full((len(points),), view), points)
    face, depth = rasterize(torch.stack(where, 1).numpy(), mesh.faces, camera.height, camera.width)
    shown = face >= 0
    normals = np.zeros((*face.shape, 3))
    normals[shown] = vertex_normals(mesh)[mesh.faces[face[shown]]].mean(1)
    normals[shown] /= np.maximum(np.linalg.norm(normals[shown], axis=1, keepdims=True), 1e-300)
    return MeshView(shown, depth, normals)


def silhouette_iou(mesh: Mesh, scene: Scene) -> list[float]:
    """Intersection over union of a mesh's silhouettes and the masks of views, one per view.

    Args:
        mesh: In the space of the scene.
        scene: Views with alpha; a pixel belongs to the object where it is above one half.
    """
    found = []
    for view, image in enumerate(scene.images):
        mask, shown = (image[..., 3] > 127).numpy(), mesh_view(mesh, scene.camera, view).shown
        found.append(float((mask & shown).sum() / max((mask | shown).sum(), 1)))
    return found


def seen_by_views(points: NDArray[np.float64], mesh: Mesh, camera: Camera, tolerance: float) -> NDArray[np.bool_]:
    """Which points (N, 3) some view sees: those that no part of a mesh hides by more than a tolerance.

    Args:
        points: In the world of the cameras.
        mesh: What hides; usually the true surface.
        camera: Views.
        tolerance: Depth by which a point may lie behind the mesh.

    Returns:
        (N,)
    """
    where, seen = torch.from_numpy(points), np.zeros(len(points), bool)
    for view in range(len(camera.c2w)):
        depth = mesh_view(mesh, camera, view).depth
        at = project(camera, torch.full((len(points),), view), where.float())
        column, row, deep = at.x.round().long().numpy(), at.y.round().long().numpy(), at.depth.numpy()
        inside = (deep > 0) & (column >= 0) & (row >= 0) & (column < camera.width) & (row < camera.height)
        seen[inside] |= deep[inside] <= depth[row[inside], column[inside]] + tolerance
    return seen
