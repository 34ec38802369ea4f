"""ngp_pl's fields as ours and back.

ngp_pl's Blender loader moves every camera to distance 1.5 and leaves the axes of the world alone, so one of its units
is ``radius / 1.5`` world units, ``radius`` being the distance of the scene's cameras. It measures samples along the
optical axis, ours along the ray: towards the corners of an image its opacities come out a little lower than ours.
"""

import math
from pathlib import Path
from typing import Literal, cast

import torch
from torch import nn

from nerfcomp.artifacts.artifact import Artifact
from nerfcomp.artifacts.radiance_field import OCCUPANCY, RadianceFieldArtifact
from nerfcomp.artifacts.scene_info import SceneInfo
from nerfcomp.errors import CheckpointError
from nerfcomp.fields import NGPField
from nerfcomp.geometry.cameras import make_camera
from nerfcomp.geometry.paths import spherical_path
from nerfcomp.readers.ngp_pl import NgpPlCheckpoint, read_ngp_pl, write_ngp_pl
from nerfcomp.rendering import OccupancySampler
from nerfcomp.rendering.bitfield import from_morton_bitfield, to_morton_bitfield

BLENDER_RADIUS = 4.031128874149275  # sqrt(16.25), distance of nerf_synthetic's cameras
_LOADER_RADIUS = 1.5
_BLENDER_ANGLE_X = 0.6911112070083618  # horizontal field of view in radians
_SIZE = 800
_RESOLUTION = 128
_POSES = 64


def from_ngp_pl(checkpoint: NgpPlCheckpoint, radius: float = BLENDER_RADIUS) -> RadianceFieldArtifact:
    """Build our field from an ngp_pl checkpoint.

    Args:
        checkpoint: Tensors of the file.
        radius: Distance of the scene's cameras, in world units.

    Returns:
        Field, sampler and a scene with cameras all around.
    """
    scale, cascades = checkpoint.scale, checkpoint.cascades
    field = NGPField(finest_resolution=round(2048 * scale), cascades=cascades, rounding=checkpoint.rounding)
    weights = [*checkpoint.tables, *checkpoint.density_matrices, *checkpoint.rgb_matrices]
    with torch.no_grad():
        for parameter, weight in zip(_parameters(field), weights, strict=True):
            parameter.copy_(weight)
    half = scale * radius / _LOADER_RADIUS
    field.set_aabb(torch.tensor([[-half] * 3, [half] * 3]))
    sampler = OccupancySampler(cascades=cascades, cone_angle=0.0 if scale <= 0.5 else 1 / 256)
    sampler.prepare(field.aabb)
    sampler.allow(from_morton_bitfield(checkpoint.bitfield, cascades, _RESOLUTION))
    return RadianceFieldArtifact(field=field.eval(), sampler=sampler.eval(), scene=_scene(half, radius))


def to_ngp_pl(trained: Artifact) -> NgpPlCheckpoint:
    """Take our field apart as ngp_pl stores it.

    Raises:
        CheckpointError: The field or its occupancy is not of ngp_pl's one architecture.
    """
    trained = trained.without_hooks()
    field, occupied = trained.field_as(NGPField, "ngp_pl stores"), trained.exact_tensors()[OCCUPANCY]
    cascades = field.cascades
    scale = 2.0 ** (cascades - 2)
    wanted = NGPField(finest_resolution=round(2048 * scale), cascades=cascades).arguments
    different = {key for key, value in wanted.items() if field.arguments[key] != value and key != "rounding"}
    if different or occupied.shape != (cascades, _RESOLUTION, _RESOLUTION, _RESOLUTION):
        raise CheckpointError(
            f"ngp_pl stores one architecture: {wanted} with {_RESOLUTION}^3 cells. This field differs in "
            f"{', '.join(sorted(different)) or 'its occupancy'}; train it with the class's defaults."
        )
    weights = [parameter.detach().cpu() for parameter in _parameters(field)]
    tables, matrices = weights[: len(field.grid.levels)], weights[len(field.grid.levels) :]
    bits = to_morton_bitfield(occupied.cpu())
    return NgpPlCheckpoint(
        tuple(tables), tuple(matrices[:2]), tuple(matrices[2:]), field.arguments["rounding"], scale, bits
    )


def import_file(path: str | Path, radius: float = BLENDER_RADIUS) -> RadianceFieldArtifact:
    """Read an ngp_pl checkpoint file; see `from_ngp_pl`."""
    return from_ngp_pl(read_ngp_pl(path), radius)


def export_file(trained: Artifact, path: str | Path, padding: Literal[8, 16] = 16) -> None:
    """Write a slim ngp_pl checkpoint file; see `to_ngp_pl`."""
    write_ngp_pl(path, to_ngp_pl(trained), padding)


def _parameters(field: NGPField) -> list[nn.Parameter]:
    """Grid levels, density matrices, colour matrices."""
    modules = [*field.grid.levels, *field.density_mlp.layers, *field.rgb_mlp.layers]
    return [cast(nn.Parameter, module.weight) for module in modules]


def _scene(half: float, radius: float) -> SceneInfo:
    focal = 0.5 * _SIZE / math.tan(0.5 * _BLENDER_ANGLE_X)
    camera = make_camera(spherical_path(_POSES, radius), _SIZE, _SIZE, focal)
    return SceneInfo(
        aabb=((-half, -half, -half), (half, half, half)),
        near=0.01,
        far=radius + 4.0 * half,
        ndc=False,
        background=(1.0, 1.0, 1.0),
        height=_SIZE,
        width=_SIZE,
        intrinsics=(focal, focal, _SIZE / 2, _SIZE / 2),
        distortion=(0.0, 0.0, 0.0, 0.0),
        poses=tuple(tuple(pose) for pose in camera.c2w.flatten(1).tolist()),
    )
