"""Where a stage starts from: whatever file holds a trained field."""

from pathlib import Path

from nerfcomp.artifacts.artifact import SceneArtifact
from nerfcomp.artifacts.checkpoint import DESCRIPTION_KEY, load_file, read_checkpoint
from nerfcomp.artifacts.convention import continued
from nerfcomp.artifacts.kinds import of_scene
from nerfcomp.artifacts.nfc import read_nfc
from nerfcomp.artifacts.scene_info import SceneInfo
from nerfcomp.exchange.nerf_pytorch import from_nerf_pytorch
from nerfcomp.readers.nerf_pytorch import unpack_nerf_pytorch
from nerfcomp.readers.scene import Scene
from nerfcomp.rendering import HierarchicalSampler


def load_start(
    path: str | Path,
    scene: Scene,
    background: tuple[float, float, float],
    sampler: HierarchicalSampler | None = None,
) -> SceneArtifact:
    """Read a trained field to go on with on the views of ``scene``.

    Args:
        path: A ``.nfc`` file, a checkpoint of ours (or the name of its run), or one of nerf-pytorch (``.tar``) or
            nerf_pl.
        scene: Training views. Their cameras take the place of those that the file knows; box, distances and rays stay
            those of the field's training. Files of nerf-pytorch and nerf_pl know nothing of them: theirs are the
            scene's, but for rays through the corners of pixels.
        background: Colour behind the scene.
        sampler: For files of nerf-pytorch and nerf_pl, which say nothing of it: number and spacing of samples.

    Returns:
        The field, its sampler if it has one, and along which rays it is evaluated; `as_trained` makes views follow it.

    Raises:
        CheckpointError: A checkpoint that is missing, damaged or of another kind; a model that no camera sees.
        ContainerError: A ``.nfc`` file that is missing, damaged or not allowed.
        SceneError: The cameras of the scene do not fit the field, see `continued`.
    """
    if Path(path).suffix != ".nfc":
        content = load_file(path)
        if DESCRIPTION_KEY not in content:
            info = SceneInfo.from_scene(scene, background)
            return from_nerf_pytorch(unpack_nerf_pytorch(content, str(path)), info, sampler)
    start = of_scene(read_nfc(path) if Path(path).suffix == ".nfc" else read_checkpoint(path), "Views show")
    return start.replace(scene=SceneInfo.from_scene(continued(scene, start.scene), background))
