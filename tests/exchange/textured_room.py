"""Photographs of a corner of a room whose walls and floor are covered with noise of all sizes."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import map_coordinates, zoom

Array = NDArray[np.float64]
_SIDE = 3.0  # the room is [-3, 3]^3; its floor and two of its walls are seen


def photographs(folder: Path, count: int, height: int = 180, width: int = 240, focal: float = 220.0) -> Array:
    """Write ``000.png``, ... and return their true poses (count, 3, 4): x right, y up, z backwards."""
    generator = np.random.default_rng(0)
    textures = [
        sum(zoom(generator.random((n, n, 3)), (256 / n, 256 / n, 1), order=1) for n in (8, 32, 128)) for _ in "abc"
    ]
    folder.mkdir(parents=True, exist_ok=True)
    poses = np.stack([_pose(view / max(count - 1, 1)) for view in range(count)])
    y, x = np.mgrid[:height, :width] + 0.5
    ahead = np.stack([(x - width / 2) / focal, -(y - height / 2) / focal, -np.ones_like(x)], -1)
    for view, pose in enumerate(poses):
        rgb = _seen(pose[:, 3], ahead @ pose[:, :3].T, textures)
        Image.fromarray((255 * rgb).round().astype(np.uint8)).save(folder / f"{view:03d}.png")
    return poses


def _pose(share: float) -> Array:
    """A camera on an arc that looks into the corner."""
    angle = np.deg2rad(20 + 50 * share)
    place = np.array([-3 + 4.6 * np.cos(angle), 3 - 4.6 * np.sin(angle), -0.4 + 0.8 * share])
    back = place - np.array([-2.2, 2.2, -1.8 + 0.3 * share])
    back /= np.linalg.norm(back)
    right = np.cross([0.0, 0.0, 1.0], back)
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(back, right), back, place], -1)


def _seen(origin: Array, directions: Array, textures: list[Array]) -> Array:
    """(H, W, 3) colours in [0, 1] of the nearest of three walls along rays."""
    nearest = np.full(directions.shape[:2], np.inf)
    rgb = np.zeros_like(directions)
    for axis, side, texture in ((2, -_SIDE, textures[0]), (0, -_SIDE, textures[1]), (1, _SIDE, textures[2])):
        t = (side - origin[axis]) / directions[..., axis]
        point = origin + t[..., None] * directions
        others = [other for other in range(3) if other != axis]
        hit = (t > 0) & (t < nearest) & (np.abs(point[..., others]) <= _SIDE + 1e-9).all(-1)
        places = ((point[..., others] / _SIDE + 1) / 2 * 255).transpose(2, 0, 1)
        color = np.stack([map_coordinates(texture[..., c], places, order=1, mode="nearest") for c in range(3)], -1)
        rgb, nearest = np.where(hit[..., None], color, rgb), np.where(hit, t, nearest)
    return np.clip((rgb - 0.6) / 1.8, 0, 1)
