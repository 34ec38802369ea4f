"""Meshes of fields."""

import functools
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from nerfcomp.artifacts.kinds import of_kind
from nerfcomp.artifacts.radiance_field import RadianceFieldArtifact
from nerfcomp.artifacts.reading import read_artifact
from nerfcomp.callbacks.media import Picture, normal_picture, to_map, to_picture, write_mp4
from nerfcomp.errors import NerfcompError
from nerfcomp.evaluation.mesh_views import mesh_view
from nerfcomp.evaluation.report import format_table
from nerfcomp.exchange.mesh import MeshOptions, field_mesh, in_world, surface_colors, write_mesh
from nerfcomp.exchange.texture import baked, texture_files, unwrapped, write_textured
from nerfcomp.files import new_file, refuse_overwrite
from nerfcomp.geometry.cameras import Camera, select_views
from nerfcomp.geometry.meshes import Mesh
from nerfcomp.readers import SceneReader
from nerfcomp.readers.video_paths import along, orbit

logger = logging.getLogger("compress")
_MOST_TEXELS = 8192


def mesh(
    input: Path,
    out: Path,
    resolution: int = 256,
    level: float | None = None,
    parts: Literal["largest", "all"] = "largest",
    reader: SceneReader | None = None,
    world: bool = True,
    texture: int = 0,
    film: Path | None = None,
    frames: int = 60,
    force: bool = False,
) -> None:
    """Write the surface of a field as a coloured mesh: .glb, .ply or .obj.

    Args:
        input: Checkpoint or .nfc file, or the folder of a run.
        out: The file to write; its suffix says the format.
        resolution: Cells of the grid along every axis of the scene's box.
        level: Density at the surface, per unit of length of the marched space; by default one of which a hundredth of
            the box's width lets half of the light through. Surface fields are cut at distance 0 and need none.
        parts: Keep the connected part of the largest area only, or all of them.
        reader: The scene, whose masks cut away what they show to be empty.
        world: Write lengths of the world that the scene came from (millimetres for DTU) where it is known.
        texture: Wrap a picture of about so many texels squared (2048, say) around the mesh instead of giving its
            vertices colours: then few triangles show what the field shows. A .glb holds it; a .obj has a .mtl and a
            .png beside.
        film: A .mp4 to write, too: normals of the mesh beside those of the field while the camera goes around.
        frames: Pictures of the film.
        force: Overwrite ``out`` and ``film``.
    """
    if texture and not 64 <= texture <= _MOST_TEXELS:
        raise NerfcompError(f"--texture is {texture}; pictures have 64 to {_MOST_TEXELS} texels along a side.")
    for path in (*(texture_files(out) if texture else [out]), film):
        if path is not None:
            refuse_overwrite(path, force)
    trained = of_kind(read_artifact(input), RadianceFieldArtifact, "Meshes are made of")
    scene = None if reader is None else reader.read("train")
    marched = field_mesh(trained, MeshOptions(resolution, level, parts, world=False), scene)
    found = in_world(marched, trained) if world else marched
    if texture:
        write_with_texture(trained, marched, found, texture, out, force)
    else:
        with new_file(out, force) as temporary:
            write_mesh(found, temporary)
    rows = [[str(out), len(found.vertices), len(found.faces), out.stat().st_size]]
    logger.info(format_table(["mesh", "vertices", "faces", "bytes"], rows))
    if film is not None:
        camera = turntable(trained, frames) if reader is None else reader.path("turntable", frames)
        write_mp4(film, normal_pictures(trained, marched, camera), fps=24)


def write_with_texture(
    trained: RadianceFieldArtifact, marched: Mesh, found: Mesh, size: int, out: Path, force: bool
) -> None:
    """Write a mesh whose picture shows the colours of its field.

    Args:
        trained: The field.
        marched: The mesh in the space in which the field is marched.
        found: The same where it shall be.
        size: Texels along a side.
        out: See `nerfcomp.exchange.texture.texture_files`.
        force: Overwrite what is there.
    """
    atlas = unwrapped(marched, size)
    with trained.evaluating():
        picture = baked(marched, atlas, functools.partial(surface_colors, trained))
    write_textured(found, atlas, picture, out, force)


def turntable(trained: RadianceFieldArtifact, frames: int) -> Camera:
    """Views around the middle of the scene's box, z up."""
    camera = trained.scene.camera
    return along(camera, orbit(camera.c2w, trained.field.aabb.mean(0).cpu(), "turntable", frames))


def normal_pictures(trained: RadianceFieldArtifact, mesh: Mesh, camera: Camera) -> Iterator[Picture]:
    """(H, 2 W, 3) normals of a mesh, and of the field where it knows them (else its colours), view by view."""
    size = camera.height, camera.width
    with trained.evaluating():
        for view in range(len(camera.c2w)):
            drawn, shown = trained.draw(select_views(camera, [view])), mesh_view(mesh, camera, view)
            opacity, field = to_map(drawn.opacity, *size), to_picture(drawn.rgb, *size)
            if drawn.normals is not None:
                field = normal_picture(drawn.normals.cpu().numpy().reshape(*size, 3), opacity)
            yield np.concatenate([normal_picture(shown.normals, shown.shown.astype(np.float32)), field], 1)
