"""The protocol by which surfaces of DTU scans are measured, in millimetres.

Points of the mesh are thinned to one per 0.2 mm; those in the part of space that the scanner has observed are compared
with its points, and its points above the table with them; distances above 20 mm count as holes and not at all. Sources:
Jensen et al., "Large Scale Multi-view Stereopsis Evaluation" (2014), and the numbers of its evaluation code.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from nerfcomp.errors import NerfcompError
from nerfcomp.geometry.meshes import Mesh, face_normals, sampled

Float = NDArray[np.float64]
_DENSITY, _MARGIN, _FARTHEST = 0.2, 60.0, 20.0
_MOST_POINTS = 4_000_000


class Observation(NamedTuple):
    """What the scanner of DTU has seen of a scan.

    Attributes:
        mask: (X, Y, Z) observed cells.
        low: (3,) corner of the box of the cells.
        high: (3,) the other corner.
        cell: Edge of a cell.
        plane: (4,) points (x, y, z, 1) with a product above 0 lie above the table.
    """

    mask: NDArray[np.bool_]
    low: Float
    high: Float
    cell: float
    plane: Float


class DTUQuality(NamedTuple):
    """Errors in millimetres.

    Attributes:
        accuracy: Mean distance from the mesh to the scan.
        completeness: Mean distance from the scan to the mesh.
        chamfer: Mean of both.
    """

    accuracy: float
    completeness: float
    chamfer: float


def read_observation(mask: Path, plane: Path) -> Observation:
    """Read ``ObsMask<scan>_10.mat`` and ``Plane<scan>.mat``.

    Raises:
        NerfcompError: A file is missing, or is another one.
    """
    stored = _load_mat(mask, ("ObsMask", "BB", "Res"))
    table = _load_mat(plane, ("P",))["P"]
    box = np.asarray(stored["BB"], np.float64).reshape(2, 3)
    cell = float(np.ravel(stored["Res"])[0])
    return Observation(stored["ObsMask"].astype(bool), box[0], box[1], cell, np.asarray(table, np.float64).ravel())


def dtu_quality(mesh: Mesh, scan: Float, observation: Observation, density: float = _DENSITY) -> DTUQuality:
    """Measure a mesh by the protocol.

    Args:
        mesh: In millimetres, in the scanner's frame.
        scan: (N, 3) points of the scanner.
        observation: What it has seen.
        density: Distance to which points are thinned.

    Raises:
        NerfcompError: Nothing of the mesh is where the scanner has seen something.
    """
    area = float(np.linalg.norm(face_normals(mesh), axis=1).sum()) / 2
    count = min(int(4 * area / density**2) + 1, _MOST_POINTS)  # four per place, so that thinning leaves no gaps
    points = thinned_points(sampled(mesh, count)[0], density)
    low, high = observation.low, observation.high
    points = points[((points >= low - _MARGIN) & (points < high + 2 * _MARGIN)).all(1)]
    seen = points[_observed(points, observation)]
    above = scan[scan @ observation.plane[:3] + observation.plane[3] > 0]
    if not len(seen) or not len(above):
        raise NerfcompError("No point of the mesh lies where the scan has been observed: is it in millimetres?")
    accuracy = _mean(cKDTree(scan).query(seen)[0])
    completeness = _mean(cKDTree(points).query(above)[0])
    return DTUQuality(accuracy, completeness, (accuracy + completeness) / 2)


def thinned_points(points: Float, distance: float) -> Float:
    """Leave out points, first come, first kept, until no two are closer than a distance.

    >>> thinned_points(np.array([[0.0, 0, 0], [0.1, 0, 0], [0.3, 0, 0]]), 0.2).tolist()
    [[0.0, 0.0, 0.0], [0.3, 0.0, 0.0]]
    """
    tree, alive = cKDTree(points), np.ones(len(points), bool)
    for begin in range(0, len(points), 100_000):
        block = np.arange(begin, min(begin + 100_000, len(points)))
        block = block[alive[block]]
        for point, near in zip(block, tree.query_ball_point(points[block], distance)):
            if alive[point]:
                alive[near] = False
                alive[point] = True
    kept: Float = points[alive]
    return kept


def _observed(points: Float, observation: Observation) -> NDArray[np.bool_]:
    cells = np.rint((points - observation.low) / observation.cell).astype(np.int64)
    inside = ((cells >= 0) & (cells < observation.mask.shape)).all(1)
    found = np.zeros(len(points), bool)
    found[inside] = observation.mask[tuple(cells[inside].T)]
    return found


def _mean(distances: Float) -> float:
    near = distances[distances < _FARTHEST]
    return float(near.mean()) if len(near) else float("inf")


def _load_mat(path: Path, names: tuple[str, ...]) -> dict[str, Any]:
    from scipy.io import loadmat

    try:
        stored: dict[str, Any] = loadmat(path)
    except Exception as error:  # readers of damaged files raise whatever the damage leads to
        raise NerfcompError(f"{path} is no .mat file of DTU that can be read ({error}).") from error
    lacking = [name for name in names if name not in stored]
    if lacking:
        raise NerfcompError(f"{path} has no {lacking[0]}; give ObsMask<scan>_10.mat and Plane<scan>.mat of DTU.")
    return stored
