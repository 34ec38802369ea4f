"""Reading artifacts, whatever file of ours holds them."""

from pathlib import Path

from nerfcomp.artifacts.artifact import Artifact, SceneArtifact
from nerfcomp.artifacts.checkpoint import read_checkpoint
from nerfcomp.artifacts.kinds import of_scene
from nerfcomp.artifacts.nfc import read_nfc


def read_artifact(path: str | Path, trust: bool = False) -> Artifact:
    """Read a ``.nfc`` file or a checkpoint, whichever ``path`` is.

    Args:
        path: The file; or the folder of a run or the name of a finished one, see `find_checkpoint`.
        trust: Run the native decoder without its protective child process.

    Raises:
        ContainerError: A ``.nfc`` file that is missing, damaged or not allowed.
        CheckpointError: A checkpoint that is missing, damaged or of another kind.
    """
    return read_nfc(path, trust) if Path(path).suffix == ".nfc" else read_checkpoint(path)


def read_scene_artifact(path: str | Path, trust: bool = False) -> SceneArtifact:
    """Read a model that cameras can look at; arguments and errors as of `read_artifact`."""
    return of_scene(read_artifact(path, trust), f"{path} does not hold")
