"""Reading artifacts, whatever file of ours holds them."""

from pathlib import Path

from nerfcomp.artifacts.artifact import Artifact, SceneArtifact
from nerfcomp.artifacts.checkpoint import read_checkpoint
from nerfcomp.artifacts.kinds import of_scene
from nerfcomp.artifacts.nfc import read_nfc
from nerfcomp.devices import used_device
from nerfcomp.limits import MOST_ELEMENTS


def read_artifact(path: str | Path, trust: bool = False, max_elements: int = MOST_ELEMENTS) -> Artifact:
    """Read a ``.nfc`` file or a checkpoint, whichever ``path`` is.

    Args:
        path: The file; or the folder of a run or the name of a finished one, see `find_checkpoint`.
        trust: Run the native decoder, where it is chosen, without its protective child process.
        max_elements: Most numbers that a ``.nfc`` file decodes to.

    Raises:
        ContainerError: A ``.nfc`` file that is missing, damaged or not allowed.
        CheckpointError: A checkpoint that is missing, damaged or of another kind.
    """
    artifact = read_nfc(path, trust, max_elements) if Path(path).suffix == ".nfc" else read_checkpoint(path)
    return artifact.to(used_device())


def read_scene_artifact(path: str | Path, trust: bool = False, max_elements: int = MOST_ELEMENTS) -> SceneArtifact:
    """Read a model that cameras can look at; arguments and errors as of `read_artifact`."""
    return of_scene(read_artifact(path, trust, max_elements), f"{path} does not hold")


def read_shown_artifact(path: str | Path, trust: bool = False) -> SceneArtifact:
    """Read what cameras see of any model, in its fastest form; arguments and errors as of `read_artifact`."""
    return read_artifact(path, trust).to_scene().for_drawing()
