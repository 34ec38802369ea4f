"""What meshes are worth."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nerfcomp.errors import NerfcompError
from nerfcomp.evaluation.dtu import dtu_quality, read_observation
from nerfcomp.evaluation.mesh_views import seen_by_views, silhouette_iou
from nerfcomp.evaluation.meshes import MeshQuality, compare_with_distance, compare_with_points
from nerfcomp.evaluation.report import format_table, write_json
from nerfcomp.exchange.mesh import read_mesh
from nerfcomp.files import refuse_overwrite
from nerfcomp.geometry.meshes import Mesh, moved, sampled
from nerfcomp.readers import Scene, SceneReader
from nerfcomp.rendering.level_set import LevelSet, extract_mesh

logger = logging.getLogger("compress")
_TOLERANCE = 0.005  # of the width of the scene's box, or of what is compared with
_REFERENCE_CELLS = 128


def evaluate_mesh(
    input: Path,
    reader: SceneReader | None = None,
    points: Path | None = None,
    points_in_scene: bool = False,
    mesh: Path | None = None,
    dtu_mask: Path | None = None,
    dtu_plane: Path | None = None,
    tolerance: float | None = None,
    samples: int = 200_000,
    out: Path | None = None,
    force: bool = False,
) -> None:
    """Measure a mesh against exact distances, points, another mesh, silhouettes, or by the protocol of DTU.

    With a reader: intersection over union of silhouettes and the masks of the test views, and where the reader knows
    its surface exactly (procedural solids) errors in what a training view sees.

    Args:
        input: Mesh file, in lengths of the world, as the command mesh writes it.
        reader: The scene.
        points: Points on the true surface, (N, 3) as .npy, or any file of points or triangles that trimesh reads.
        points_in_scene: The points lie in the space in which the reader's scene is marched (the unit sphere of DTU),
            and not in its world.
        mesh: Another mesh to compare with.
        dtu_mask: ObsMask<scan>_10.mat of DTU: ``points`` are its stl<scan>_total.ply, and its protocol is followed.
        dtu_plane: Plane<scan>.mat, likewise.
        tolerance: Distance that still counts as right, for the F-score; half a hundredth of the width of the scene's
            box, or of what the mesh is compared with, when absent.
        samples: Points drawn on meshes.
        out: JSON file for the figures.
        force: Overwrite ``out``.
    """
    if out is not None:
        refuse_overwrite(out, force)
    if reader is None and points is None and mesh is None:
        raise NerfcompError("Measure against what? Give --reader, --points or --mesh.")
    if (dtu_mask is None) != (dtu_plane is None) or (dtu_mask is not None and points is None):
        raise NerfcompError("The protocol of DTU needs --points, --dtu_mask and --dtu_plane.")
    found, figures = read_mesh(input), dict[str, Any]()
    scene = None if reader is None else reader.read("test")
    if reader is not None and scene is not None:
        figures |= _against_scene(found, reader, scene, tolerance, samples)
    if points is not None:
        cloud = read_points(points)
        if points_in_scene:
            cloud = moved(Mesh(cloud, np.zeros((0, 3), np.int64)), _to_world(scene)).vertices
        if dtu_mask is not None and dtu_plane is not None:
            observation = read_observation(dtu_mask, dtu_plane)
            figures |= _named("DTU", dtu_quality(found, cloud, observation)._asdict())
        else:
            figures |= _named("points", _against_points(found, cloud, tolerance, samples))
    if mesh is not None:
        figures |= _named("mesh", _against_points(found, sampled(read_mesh(mesh), samples)[0], tolerance, samples))
    logger.info(format_table(["figure", str(input)], [[name, f"{value:.5g}"] for name, value in figures.items()]))
    if out is not None:
        write_json(out, figures)


def read_points(path: Path) -> NDArray[np.float64]:
    """Read points (N, 3).

    Raises:
        NerfcompError: The file cannot be read, or holds something else.
    """
    try:
        if path.suffix == ".npy":
            points = np.load(path, allow_pickle=False)
        else:
            import trimesh

            found: Any = trimesh.load(path, process=False)
            points = np.asarray(found.vertices)
    except Exception as error:  # readers raise whatever the damage leads to
        raise NerfcompError(f"{path} holds no points that can be read ({error}).") from error
    if points.ndim != 2 or points.shape[1] != 3 or not len(points) or not np.isfinite(points).all():
        raise NerfcompError(f"{path} must hold (N, 3) finite numbers, found {points.shape}.")
    return np.asarray(points, np.float64)


def _to_world(scene: Scene | None) -> NDArray[np.float64]:
    if scene is None:
        raise NerfcompError("--points_in_scene needs --reader, which knows the way to the world.")
    matrix: NDArray[np.float64] = np.eye(4) if scene.to_world is None else scene.to_world.double().numpy()
    return matrix


def _named(prefix: str, figures: dict[str, Any]) -> dict[str, Any]:
    return {f"{prefix}: {name.replace('_', ' ')}": value for name, value in figures.items() if value is not None}


def _against_points(
    mesh: Mesh, points: NDArray[np.float64], tolerance: float | None, samples: int
) -> dict[str, float | None]:
    """See `compare_with_points`."""
    width = tolerance or _TOLERANCE * float(np.ptp(points, axis=0).max())
    return compare_with_points(mesh, points, width, samples)._asdict()


def _against_scene(
    mesh: Mesh, reader: SceneReader, scene: Scene, tolerance: float | None, samples: int
) -> dict[str, float | None]:
    """Silhouettes, and exact errors where the reader knows its surface."""
    marched = moved(mesh, np.linalg.inv(_to_world(scene)).astype(np.float64))
    figures: dict[str, float | None] = {}
    if scene.has_alpha:
        ious = silhouette_iou(marched, scene)
        figures |= {"silhouettes: mean IoU": sum(ious) / len(ious), "silhouettes: least IoU": min(ious)}
    distance = reader.surface_distance
    if distance is None:
        return figures
    box, width = scene.aabb.double(), float((scene.aabb[1] - scene.aabb[0]).max())
    margin = 0.02 * width
    grown = torch.stack([box[0] - margin, box[1] + margin])
    exact = extract_mesh(LevelSet(lambda x: -distance(x), 0.0, 1.0), grown, _REFERENCE_CELLS)
    views = reader.read("train").camera
    seen = compare_with_distance(
        marched, distance, grown, tolerance or _TOLERANCE * width,
        lambda p: seen_by_views(p, exact, views, 0.01 * width), samples, _REFERENCE_CELLS,
    )  # fmt: skip
    return figures | _named("exact", _with_percent(seen, width))


def _with_percent(found: MeshQuality, width: float) -> dict[str, Any]:
    return {**found._asdict(), "chamfer_in_percent_of_the_box": 100 * found.chamfer / width}
