"""Meshes of fields."""

import logging
from pathlib import Path
from typing import Literal

from nerfcomp.artifacts.kinds import of_kind
from nerfcomp.artifacts.radiance_field import RadianceFieldArtifact
from nerfcomp.artifacts.reading import read_artifact
from nerfcomp.evaluation.report import format_table
from nerfcomp.exchange.mesh import MeshOptions, field_mesh, write_mesh
from nerfcomp.files import new_file, refuse_overwrite
from nerfcomp.readers import SceneReader

logger = logging.getLogger("compress")


def mesh(
    input: Path,
    out: Path,
    resolution: int = 256,
    level: float | None = None,
    parts: Literal["largest", "all"] = "largest",
    reader: SceneReader | None = None,
    world: bool = True,
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
        force: Overwrite ``out``.
    """
    refuse_overwrite(out, force)
    trained = of_kind(read_artifact(input), RadianceFieldArtifact, "Meshes are made of")
    scene = None if reader is None else reader.read("train")
    found = field_mesh(trained, MeshOptions(resolution, level, parts, world), scene)
    with new_file(out, force) as temporary:
        write_mesh(found, temporary)
    rows = [[str(out), len(found.vertices), len(found.faces), out.stat().st_size]]
    logger.info(format_table(["mesh", "vertices", "faces", "bytes"], rows))
