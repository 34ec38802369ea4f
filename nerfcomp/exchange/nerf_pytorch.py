"""nerf-pytorch's checkpoints as our fields and back.

nerf-pytorch spaces samples along the optical axis, between the same two planes for all pixels; ours are spaced along
the ray, between two distances. A ray in the middle of a picture has the same samples; towards the corners ours are up
to a tenth nearer, where synthetic scenes have nothing.

nerf-pytorch's rays go through the corners of pixels, ours through their centres unless a reader is told otherwise. A
field that comes from there keeps its rays; one of ours that went through centres stands half a pixel beside itself
there.
"""

import logging
from pathlib import Path

import torch
from torch import Tensor

from nerfcomp.artifacts.artifact import Artifact
from nerfcomp.artifacts.kinds import of_scene
from nerfcomp.artifacts.radiance_field import RadianceFieldArtifact
from nerfcomp.artifacts.scene_info import SceneInfo
from nerfcomp.errors import CheckpointError
from nerfcomp.fields import NeRFField
from nerfcomp.readers.nerf_pytorch import NerfCheckpoint, read_nerf_pytorch, unpack_nerf_pytorch, write_nerf_pytorch
from nerfcomp.readers.scene import Scene
from nerfcomp.rendering import HierarchicalSampler

logger = logging.getLogger(__name__)
_NEAR, _FAR = 2.0, 6.0  # where nerf-pytorch and nerf_pl march synthetic scenes, whatever their cameras
LAST_STEP = 200_000  # where nerf-pytorch's training ends


def from_nerf_pytorch(
    checkpoint: NerfCheckpoint, scene: SceneInfo, sampler: HierarchicalSampler | None = None
) -> RadianceFieldArtifact:
    """Build our field from a checkpoint.

    Args:
        checkpoint: Tensors of the file.
        scene: Cameras, bounds and box, of which the file knows nothing. Its rays become those of the file's training.
        sampler: Number and spacing of samples; nerf-pytorch's for synthetic scenes when absent.

    Returns:
        Field, sampler and scene; what is empty has not been learnt yet.

    Raises:
        CheckpointError: Coarse and fine network differ in more than depth and width.
    """
    coarse, fine = checkpoint.coarse_shape, checkpoint.fine_shape
    if fine is not None and coarse[3:] != fine[3:]:
        raise CheckpointError(f"Coarse and fine network must see the same encodings, found {coarse} and {fine}.")
    skips = sorted({*coarse.skips, *(fine.skips if fine is not None else ())})
    for network in (coarse, fine):
        if network is not None and [layer for layer in skips if layer < network.depth] != list(network.skips):
            raise CheckpointError(f"Coarse and fine network must have their skips alike, found {coarse} and {fine}.")
    field = NeRFField(
        **{**coarse._asdict(), "skips": skips},
        fine=fine is not None,
        fine_depth=None if fine is None or fine.depth == coarse.depth else fine.depth,
        fine_width=None if fine is None or fine.width == coarse.width else fine.width,
    )
    field.load_state_dict(_joined(checkpoint) | {"aabb": torch.tensor(scene.aabb)})
    if sampler is None:
        sampler = HierarchicalSampler(n_importance=0 if fine is None else 128)
    sampler.prepare(field.aabb)
    scene = scene.with_rays(checkpoint.pixel_centers)
    return RadianceFieldArtifact(field=field.eval(), sampler=sampler.eval(), scene=scene)


def usual_distances(scene: Scene) -> Scene:
    """Give a synthetic scene the distances that nerf-pytorch has fixed, if they suit its cameras.

    They do where the ball in the scene's box lies between them for every camera, as in nerf_synthetic; a field of any
    other scene cannot have been trained between them.

    Args:
        scene: Views; in normalised device coordinates or around a point they stay as they are.
    """
    if scene.ndc or scene.cascades > 1:
        return scene
    distance = (scene.camera.c2w[:, :, 3] - scene.aabb.mean(0)).norm(dim=-1)
    radius = float((scene.aabb[1] - scene.aabb[0]).min()) / 2
    fits = float(distance.min()) - radius >= _NEAR and float(distance.max()) + radius <= _FAR
    return scene._replace(near=_NEAR, far=_FAR) if fits else scene


def is_vanilla_nerf(trained: Artifact) -> bool:
    """Whether nerf-pytorch can store a model."""
    return trained.field.arguments.keys() == NeRFField(depth=1, width=2).arguments.keys()


def to_nerf_pytorch(trained: Artifact, step: int = LAST_STEP) -> NerfCheckpoint:
    """Take our field apart as nerf-pytorch stores it; the log warns if its rays are not those of nerf-pytorch.

    Args:
        trained: The field.
        step: Training steps that the file will speak of.

    Raises:
        CheckpointError: The field is no vanilla NeRF.
    """
    trained = of_scene(trained, "nerf-pytorch stores").without_hooks()
    field = trained.field_as(NeRFField, "nerf-pytorch stores")
    if trained.scene.pixel_centers:
        logger.warning(
            "This field was trained with rays through the centres of pixels. nerf-pytorch sends them through the "
            "corners and will show it half a pixel aside, which costs decibels; train with the reader's pixel_centers "
            "off to export exactly."
        )
    states = [{name: p.detach().cpu().float() for name, p in net.named_parameters()} for net in field.networks]
    fine = states[1] if field.model_fine is not None else None
    found = unpack_nerf_pytorch(
        {"global_step": step, "network_fn_state_dict": states[0], "network_fine_state_dict": fine}, "The field"
    )
    return found._replace(pixel_centers=trained.scene.pixel_centers)


def import_nerf(
    path: str | Path, scene: SceneInfo, sampler: HierarchicalSampler | None = None
) -> RadianceFieldArtifact:
    """Read a checkpoint file; see `from_nerf_pytorch`."""
    return from_nerf_pytorch(read_nerf_pytorch(path), scene, sampler)


def export_nerf(trained: Artifact, path: str | Path, step: int = LAST_STEP) -> None:
    """Write a ``.tar`` file; see `to_nerf_pytorch`."""
    write_nerf_pytorch(path, to_nerf_pytorch(trained, step))


def _joined(checkpoint: NerfCheckpoint) -> dict[str, Tensor]:
    """Parameters of both networks under the field's names."""
    joined = {f"model.{name}": value for name, value in checkpoint.coarse.items()}
    return joined | {f"model_fine.{name}": value for name, value in (checkpoint.fine or {}).items()}
