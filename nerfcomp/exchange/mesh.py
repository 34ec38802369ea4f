"""Surfaces of trained fields as coloured triangle meshes, for Blender and viewers of glTF."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nerfcomp.artifacts.radiance_field import RadianceFieldArtifact
from nerfcomp.errors import NerfcompError
from nerfcomp.geometry.cameras import project
from nerfcomp.geometry.meshes import Mesh, kept_faces, largest_component, moved, vertex_normals
from nerfcomp.lazy import import_extra
from nerfcomp.readers.scene import Scene
from nerfcomp.rendering.emptiness import dilated, occupied_at
from nerfcomp.rendering.level_set import LevelSet, extract_mesh

SUFFIXES = (".glb", ".ply", ".obj")
_CHUNK = 2**16


class MeshOptions(NamedTuple):
    """How a mesh is made.

    Attributes:
        resolution: Cells along every axis of the scene's box.
        level: Value of the field at the surface; the field's own when absent.
        parts: Keep everything (``all``) or the connected part of the largest area (``largest``).
        world: Lengths are those of the world that the scene came from, not of the space in which it is marched.
    """

    resolution: int = 256
    level: float | None = None
    parts: str = "largest"
    world: bool = True


def field_mesh(
    trained: RadianceFieldArtifact, options: MeshOptions = MeshOptions(), scene: Scene | None = None
) -> Mesh:
    """Make the mesh of a field.

    Args:
        trained: The field.
        options: How.
        scene: Views whose masks cut away what they do not show.

    Returns:
        The mesh, with colours.

    Raises:
        NerfcompError: There is no surface, or the field lives in normalised device coordinates.
    """
    if trained.scene.ndc:
        raise NerfcompError("Forward-facing fields in normalised device coordinates have no mesh in the world.")
    field = trained.field
    with trained.evaluating():
        level = field.surface_level() if options.level is None else options.level
        surface = LevelSet(field.solidity, level, field.steepest(), _allowed(trained))
        mesh = extract_mesh(surface, field.surface_box, options.resolution)
        if not len(mesh.faces):
            raise NerfcompError(f"The field has no surface at {level:g}. Choose another --level.")
        mesh = mesh if scene is None else masked(mesh, scene)
        mesh = largest_component(mesh) if options.parts == "largest" else mesh
        mesh = mesh._replace(colors=surface_colors(trained, mesh.vertices, vertex_normals(mesh)))
    return in_world(mesh, trained) if options.world else mesh


def in_world(mesh: Mesh, trained: RadianceFieldArtifact) -> Mesh:
    """A mesh from the space in which its field is marched, with lengths of the world where that is known."""
    to_world = trained.scene.to_world
    return mesh if to_world is None else moved(mesh, np.reshape(to_world, (4, 4)))


def masked(mesh: Mesh, scene: Scene, margin: int = 2, least_views: int = 1) -> Mesh:
    """Cut away faces that the masks of a scene show to be empty.

    A vertex goes when it falls outside of the masks of ``least_views`` views that have it in their picture.

    Args:
        mesh: In the space of the scene.
        scene: Views with alpha.
        margin: Pixels by which masks are widened.
        least_views: See above.

    Returns:
        What is left.
    """
    points = torch.from_numpy(mesh.vertices).float()
    against = torch.zeros(len(points))
    size = 2 * margin + 1
    for view, image in enumerate(scene.images):
        mask = torch.nn.functional.max_pool2d((image[None, ..., 3] > 0).float(), size, 1, margin)[0] > 0
        seen = project(scene.camera, torch.full((len(points),), view), points)
        x, y = seen.x.round().long(), seen.y.round().long()
        inside = (seen.depth > 0) & (x >= 0) & (y >= 0) & (x < mask.shape[1]) & (y < mask.shape[0])
        against[inside] += (~mask[y[inside], x[inside]]).float()
    keep: NDArray[np.bool_] = np.all((against < least_views).numpy()[mesh.faces], axis=1)
    return kept_faces(mesh, keep)


def write_mesh(mesh: Mesh, path: Path) -> None:
    """Write a mesh as glTF (.glb), .ply or .obj, with the colours of its vertices.

    Args:
        mesh: With faces.
        path: The file, whose suffix says the format; overwritten.

    Raises:
        NerfcompError: Another suffix.
        MissingExtraError: trimesh is not installed.
    """
    if path.suffix not in SUFFIXES:
        raise NerfcompError(f"Meshes are written as {', '.join(SUFFIXES)}; {path} is none of them.")
    trimesh = load_trimesh()
    shown: Any = trimesh.Trimesh(mesh.vertices, mesh.faces, vertex_colors=mesh.colors, process=False)
    shown.vertex_normals = vertex_normals(mesh)
    shown.export(path)


def read_mesh(path: Path) -> Mesh:
    """Read the triangles of a mesh file.

    Raises:
        NerfcompError: The file cannot be read.
        MissingExtraError: trimesh is not installed.
    """
    trimesh = load_trimesh()
    try:
        found: Any = trimesh.load(path, force="mesh", process=False)
    except Exception as error:  # readers raise whatever the damage leads to
        raise NerfcompError(f"{path} is not a mesh that can be read ({error}).") from error
    colors = np.asarray(found.visual.vertex_colors)[:, :3] if found.visual.kind == "vertex" else None
    return Mesh(np.asarray(found.vertices, np.float64), np.asarray(found.faces, np.int64), colors)


def load_trimesh() -> Any:
    """The library that reads and writes mesh files.

    Raises:
        MissingExtraError: It is not installed.
    """
    return import_extra("trimesh", "Mesh files need trimesh: pip install 'nerfcomp[mesh]'.")


def _allowed(trained: RadianceFieldArtifact) -> Callable[[Tensor], Tensor]:
    """Where the occupancy, or a cell beside it, says that there can be something."""
    wide = dilated(trained.sampler.occupied)
    box = trained.field.aabb
    return lambda x: occupied_at(x, wide, box, False)


def surface_colors(
    trained: RadianceFieldArtifact, points: NDArray[np.float64], normals: NDArray[np.float64]
) -> NDArray[np.uint8]:
    """Colours (M, 3) of points of a surface, seen along their normals.

    Args:
        trained: The field, in the state of `Artifact.evaluating`.
        points: (M, 3) in the space in which it is marched.
        normals: (M, 3) unit, outward.
    """
    box = trained.field.surface_box
    length = float((box[1] - box[0]).norm()) / 1024
    found = np.zeros((len(points), 3), np.uint8)
    for first in range(0, len(points), _CHUNK):
        some = slice(first, first + _CHUNK)
        x, d = torch.from_numpy(points[some]).to(box), -torch.from_numpy(normals[some]).to(box)
        rgb = trained.field.shade(x, d, x.new_full((len(x),), length)).rgb
        found[some] = (rgb.clamp(0, 1) * 255).round().byte().cpu().numpy()
    return found
