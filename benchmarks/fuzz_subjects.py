"""Tiny trained models of every kind, which fuzzers damage."""

import torch

from nerfcomp.artifacts.artifact import Artifact
from nerfcomp.artifacts.integers import calibrated, to_integers
from nerfcomp.artifacts.light_field import LightFieldArtifact
from nerfcomp.artifacts.radiance_field import RadianceFieldArtifact
from nerfcomp.artifacts.scene_info import SceneInfo
from nerfcomp.artifacts.surface import SurfaceArtifact
from nerfcomp.artifacts.volume import VolumeArtifact
from nerfcomp.artifacts.volume_info import VolumeInfo
from nerfcomp.compression import BinaryMask, FakeQuantization, LocalScaling
from nerfcomp.fields import (
    HashSurfaceField,
    HashVolume,
    LatentGridVolume,
    LightField,
    NeRFField,
    NeuSField,
    NGPField,
    RadianceField,
)
from nerfcomp.rendering import HierarchicalSampler, OccupancySampler, Sampler

SIDE = 8


def scene() -> SceneInfo:
    """Two views of 8x8 pixels."""
    pose = (1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 4.0)
    other = (0.0, 0.0, 1.0, 4.0, 0.0, 1.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0)
    corner = (1.0, 1.0, 1.0)
    low = (-1.0, -1.0, -1.0)
    intrinsics = (9.6, 9.6, 4.0, 4.0)
    return SceneInfo((low, corner), 2.0, 6.0, False, corner, SIDE, SIDE, intrinsics, (0.0,) * 4, (pose, other))


def radiance_field(field: RadianceField, sampler: Sampler) -> RadianceFieldArtifact:
    """A radiance field in the scene."""
    box = torch.tensor(scene().aabb)
    field.set_aabb(box)
    sampler.prepare(box)
    kind = SurfaceArtifact if type(field) in SurfaceArtifact.field_classes else RadianceFieldArtifact
    return kind(field=field.eval(), sampler=sampler.eval(), scene=scene())  # type: ignore[arg-type]


def occupancy() -> OccupancySampler:
    """A sampler of few cells and steps."""
    return OccupancySampler(resolution=8, n_steps=32, max_samples=32)


def subjects() -> dict[str, Artifact]:
    """All of them by name, with weights drawn at random."""
    torch.manual_seed(0)
    ngp = NGPField(levels=2, log2_table_size=7, base_resolution=4, finest_resolution=8, hidden_width=8)
    nerf = NeRFField(depth=2, width=8, skips=[], position_frequencies=2, direction_frequencies=1)
    light = LightField(2, 2, 8, 1, (2, 2), (2, 4), (8, 3), (1, 0), batch_norm=True, rgb_layer=False)
    light.set_aabb(torch.tensor(scene().aabb))
    surface = HashSurfaceField(2, 2, 7, 4, 8, 8, 1, 1, 4, 2)
    info = VolumeInfo((6, 5, 4), "uint8", 0.0, 255.0)
    found: dict[str, Artifact] = {
        "ngp": radiance_field(ngp, occupancy()),
        "nerf": radiance_field(nerf, HierarchicalSampler(8, 8, resolution=8, cascades=1)),
        "student": LightFieldArtifact(field=light.eval(), scene=scene()),
        "hash surface": radiance_field(surface, occupancy()),
        "neus": radiance_field(NeuSField(2, 40, 1, 2, 1, 1), occupancy()),
        "hash volume": VolumeArtifact(field=HashVolume(2, 2, 7, 4, 8, 8, 1).eval(), info=info),
        "latent volume": VolumeArtifact(field=LatentGridVolume(2, 4, "haar", "zero", 1, 8, 1).eval(), info=info),
    }
    found["int8"] = to_integers(calibrated(found["ngp"], [FakeQuantization(["*mlp*.weight"])], batches=1))
    hooked = radiance_field(NGPField(levels=2, log2_table_size=7, hidden_width=8), occupancy())
    LocalScaling(["*mlp*.weight"]).attach(hooked.field)
    BinaryMask(["grid.*.weight"]).attach(hooked.field)
    found["hooked"] = hooked
    return found
