"""Where a stage starts from: whatever file holds a trained field."""

from pathlib import Path

from nerfcomp.errors import CheckpointError
from nerfcomp.fields import LightField
from nerfcomp.pipeline.bitstream import read_nfc
from nerfcomp.pipeline.checkpoint import DESCRIPTION_KEY, load_file, read_checkpoint
from nerfcomp.pipeline.nerf_pytorch import from_nerf_pytorch
from nerfcomp.pipeline.trained import SceneInfo, TrainedField
from nerfcomp.readers.nerf_pytorch import unpack_nerf_pytorch
from nerfcomp.rendering import HierarchicalSampler


def read_start(path: str | Path, scene: SceneInfo, sampler: HierarchicalSampler | None = None) -> TrainedField:
    """Read a trained field to go on with in ``scene``.

    Args:
        path: A ``.nfc`` file, a checkpoint of ours, or one of nerf-pytorch (``.tar``) or nerf_pl.
        scene: Cameras and bounds; take the place of those that the file knows.
        sampler: For files of nerf-pytorch and nerf_pl, which say nothing of it: number and spacing of samples.

    Returns:
        Field, sampler and ``scene``.

    Raises:
        CheckpointError: A checkpoint that is missing, damaged or of another kind; a light field, which has no rays.
        ContainerError: A ``.nfc`` file that is missing, damaged or not allowed.
    """
    if Path(path).suffix == ".nfc":
        return _with_rays(read_nfc(path), path)._replace(scene=scene)
    content = load_file(path)
    if DESCRIPTION_KEY in content:
        return _with_rays(read_checkpoint(path), path)._replace(scene=scene)
    return from_nerf_pytorch(unpack_nerf_pytorch(content, str(path)), scene, sampler)


def _with_rays(trained: TrainedField, path: str | Path) -> TrainedField:
    """Refuse fields that are not rendered ray by ray."""
    if isinstance(trained.field, LightField):
        raise CheckpointError(f"{path} holds a LightField, which has no rays; give a NeRF or another radiance field.")
    return trained
