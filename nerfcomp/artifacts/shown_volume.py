"""A volume as cameras see it: decoded to a lattice, drawn as a cloud, from a circle of views."""

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from nerfcomp.artifacts.radiance_field import RadianceFieldArtifact
from nerfcomp.artifacts.scene_info import SceneInfo
from nerfcomp.artifacts.volume_info import Axes, VolumeInfo
from nerfcomp.fields.lattice_cloud import LatticeCloud
from nerfcomp.geometry.lattice import volume_extent
from nerfcomp.geometry.paths import spherical_path
from nerfcomp.rendering import OccupancySampler

_FINEST = 160  # voxels along an axis
_VIEWS, _SIZE, _FOCAL = 12, 512, 700.0
_DISTANCE = 5.0
_MOST_CELLS = 64
_VOXELS_PER_STEP = 1.5


def shown_volume(info: VolumeInfo, decode: Callable[[Axes], NDArray[np.generic]]) -> RadianceFieldArtifact:
    """Make a scene of a volume.

    Args:
        info: What the volume is.
        decode: Stored values (X, Y, Z) at voxel coordinates along each axis.
    """
    shape = (min(info.shape[0], _FINEST), min(info.shape[1], _FINEST), min(info.shape[2], _FINEST))
    values = torch.from_numpy(info.normalised(decode(info.axes(resolution=shape))))
    field = LatticeCloud(values, volume_extent(info.shape, info.spacing), value_colors())
    cells = max(4, min(_MOST_CELLS, max(shape) // 4 * 4))
    steps = max(32, round(math.sqrt(3.0) * max(shape) / _VOXELS_PER_STEP))
    sampler = OccupancySampler(resolution=cells, cascades=1, n_steps=steps)
    sampler.prepare(field.aabb)
    sampler.set_occupied(field.occupancy(cells))
    return RadianceFieldArtifact(field=field.eval(), sampler=sampler.eval(), scene=circle_of_views())


def circle_of_views() -> SceneInfo:
    """Views around the cube [-1, 1]^3, from somewhat above."""
    poses = spherical_path(_VIEWS, _DISTANCE, elevation=math.radians(25)).flatten(1)
    half = _SIZE / 2
    return SceneInfo(
        aabb=((-1.0, -1.0, -1.0), (1.0, 1.0, 1.0)),
        near=_DISTANCE - math.sqrt(3.0),
        far=_DISTANCE + math.sqrt(3.0),
        ndc=False,
        background=(1.0, 1.0, 1.0),
        height=_SIZE,
        width=_SIZE,
        intrinsics=(_FOCAL, _FOCAL, half, half),
        distortion=(0.0, 0.0, 0.0, 0.0),
        poses=tuple(tuple(pose) for pose in poses.tolist()),
    )


def value_colors() -> torch.Tensor:
    """256 colours from low to high values, (256, 3) in [0, 1]."""
    import matplotlib  # slow to import, and only pictures need it

    return torch.tensor(matplotlib.colormaps["viridis"](np.arange(256))[:, :3], dtype=torch.float32)
