"""Where the camera of a film goes, from where the views of a scene stand.

``V`` views, ``F`` frames; poses are camera to world, OpenGL convention, as in `nerfcomp.geometry.cameras`.
"""

import math
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from scipy.interpolate import CubicSpline
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

from nerfcomp.geometry.cameras import Camera
from nerfcomp.geometry.paths import look_at, spherical_path, spiral_path
from nerfcomp.readers.alignment import average_pose, focus_point, relative_to

Knots = npt.NDArray[np.float64]
PathKind = Literal["turntable", "spiral", "along", "auto"]

_WIDEST_GAP = math.radians(100)  # between neighbouring views, seen from above, of a scene that is surrounded
_ONE_SIDE = 0.8  # length of the mean viewing direction from which on all views look the same way
_SMOOTHING = 0.02  # of the path's views: the width of the window that positions and directions are averaged over


def film_poses(c2w: Tensor, center: Tensor, kind: PathKind, n_frames: int) -> Tensor:
    """Make the poses of a film.

    Args:
        c2w: (V, 3, 4) views of the scene, z up.
        center: (3,) middle of the scene.
        kind: ``turntable`` circles around the middle; ``spiral`` climbs around it in two turns, or swings in front of
            a scene that is seen from one side; ``along`` follows the views; ``auto`` is a turntable where views
            surround the scene, a spiral where all look the same way, and follows the views otherwise.
        n_frames: F, at least 1.

    Returns:
        (F, 3, 4) camera to world.

    Raises:
        ValueError: There are no frames.
    """
    chosen = suited(c2w) if kind == "auto" else kind
    if chosen == "along":
        return follow(c2w, n_frames)
    if chosen == "spiral" and not surrounds(c2w):
        return swing(c2w, n_frames)
    return orbit(c2w, center, chosen, n_frames)


def suited(c2w: Tensor) -> PathKind:
    """Say which path shows what views have covered, and nothing that they have not; see `film_poses`."""
    if surrounds(c2w):
        return "turntable"
    return "spiral" if float(c2w[:, :, 2].mean(0).norm()) > _ONE_SIDE else "along"


def surrounds(c2w: Tensor) -> bool:
    """Whether views look at a common point from all around, seen from above.

    Args:
        c2w: (V, 3, 4), z up.
    """
    point = focus_point(c2w.double())
    if point is None:
        return False
    offset = c2w[:, :, 3].double() - point
    angle = torch.atan2(offset[:, 1], offset[:, 0]).sort().values
    gaps = torch.diff(angle, append=angle[:1] + 2 * math.pi)
    return float(gaps.max()) < _WIDEST_GAP


def orbit(c2w: Tensor, center: Tensor, kind: PathKind, n_frames: int) -> Tensor:
    """Circle around a point, z up, at the distance and elevation of the median view.

    Args:
        c2w: (V, 3, 4) views to imitate.
        center: (3,) point to look at.
        kind: ``spiral`` climbs from the lowest tenth of the views' elevations to the highest in two turns.
        n_frames: F.

    Returns:
        (F, 3, 4) camera to world.
    """
    offset = c2w[:, :, 3] - center
    distance = offset.norm(dim=-1)
    elevation = torch.asin((offset[:, 2] / distance.clamp_min(1e-9)).clamp(-1, 1))
    low, middle, high = torch.quantile(elevation, torch.tensor([0.1, 0.5, 0.9])).tolist()
    target = (float(center[0]), float(center[1]), float(center[2]))
    climb = (low, high) if kind == "spiral" else middle
    return spherical_path(n_frames, float(distance.median()), climb, target, turns=2.0 if kind == "spiral" else 1.0)


def swing(c2w: Tensor, n_frames: int) -> Tensor:
    """Swing around the mean pose with the spread of 90 % of the views, focused at four times that.

    Args:
        c2w: (V, 3, 4) poses to imitate.
        n_frames: F.

    Returns:
        (F, 3, 4) camera to world.
    """
    middle = average_pose(c2w)
    x, y, z = torch.quantile(relative_to(c2w, middle)[:, :, 3].abs(), 0.9, dim=0).tolist()
    return spiral_path(middle, (x, y, z), max(4 * max(x, y, z), 1e-3), n_frames)


def follow(c2w: Tensor, n_frames: int) -> Tensor:
    """Move smoothly past the views, in their order or, where that jumps about, always to the nearest one left.

    Positions and directions are averaged over neighbours, which takes the shaking of a hand out, and joined by a cubic
    spline that is run through at an even pace.

    Args:
        c2w: (V, 3, 4) poses to follow.
        n_frames: F, at least 1.

    Returns:
        (F, 3, 4) camera to world.

    Raises:
        ValueError: There are no frames.
    """
    if n_frames < 1:
        raise ValueError(f"a path needs at least one frame, not {n_frames}")
    if len(c2w) == 1:
        return c2w.repeat(n_frames, 1, 1)
    knots = _knots(c2w)
    knots = knots[_order(knots[:, :3])]
    smooth = gaussian_filter1d(knots, max(1.0, _SMOOTHING * len(knots)), axis=0, mode="nearest")
    return _joined(smooth, n_frames)


def through(c2w: Tensor, n_frames: int) -> Tensor:
    """Move through poses in their order along a cubic spline, at an even pace.

    Args:
        c2w: (V, 3, 4) poses, the first and the last of which begin and end the path.
        n_frames: F, at least 1.

    Returns:
        (F, 3, 4) camera to world.
    """
    return c2w.repeat(n_frames, 1, 1) if len(c2w) == 1 else _joined(_knots(c2w), n_frames)


def _knots(c2w: Tensor) -> Knots:
    """Position, viewing direction and up direction of (V, 3, 4) poses."""
    return torch.cat([c2w[:, :, 3], -c2w[:, :, 2], c2w[:, :, 1]], 1).double().numpy()


def _joined(knots: Knots, n_frames: int) -> Tensor:
    """Run evenly along the spline through knots, where moving and turning count alike."""
    moved = np.linalg.norm(np.diff(knots[:, :3], axis=0), axis=1)
    turned = np.linalg.norm(np.diff(knots[:, 3:6], axis=0), axis=1)
    pace = sum(part / max(part.sum(), 1e-9) for part in (moved, turned)) + 1e-6
    along = np.concatenate([[0.0], np.cumsum(pace)])
    frames = torch.from_numpy(CubicSpline(along, knots)(np.linspace(0.0, along[-1], n_frames))).float()
    return look_at(frames[:, :3], frames[:, :3] + frames[:, 3:6], frames[:, 6:])


def _order(centers: Knots) -> list[int]:
    """Order of (V, 3) positions for a path past them: their own unless going to the nearest one takes half the way."""
    nearest, left = [0], set(range(1, len(centers)))
    while left:
        here = centers[nearest[-1]]
        nearest.append(min(left, key=lambda view: float(np.linalg.norm(centers[view] - here))))
        left.discard(nearest[-1])
    own = list(range(len(centers)))
    length = [float(np.linalg.norm(np.diff(centers[order], axis=0), axis=1).sum()) for order in (own, nearest)]
    return own if length[0] <= 2 * length[1] else nearest


def along(camera: Camera, poses: Tensor) -> Camera:
    """Move the first view along a path, without its lens distortion.

    Args:
        camera: At least one view.
        poses: (F, 3, 4) camera to world.

    Returns:
        F views.
    """
    intrinsics = camera.intrinsics[:1].repeat(len(poses), 1)
    return camera._replace(c2w=poses, intrinsics=intrinsics, distortion=torch.zeros_like(intrinsics))
