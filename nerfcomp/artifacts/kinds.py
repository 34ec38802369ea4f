"""All kinds of artifacts that this program knows, and rebuilding one from what a file says of it."""

from collections.abc import Mapping
from typing import Any, TypeVar

from nerfcomp.artifacts.artifact import Artifact, SceneArtifact, kind_of
from nerfcomp.artifacts.cost import check_described
from nerfcomp.artifacts.light_field import LightFieldArtifact
from nerfcomp.artifacts.radiance_field import RadianceFieldArtifact
from nerfcomp.artifacts.surface import SurfaceArtifact
from nerfcomp.artifacts.volume import VolumeArtifact
from nerfcomp.compression import attach_described
from nerfcomp.descriptions import Description
from nerfcomp.errors import CheckpointError, ContainerError
from nerfcomp.fields import INTEGERS_KEY, take_integers
from nerfcomp.limits import LIMITS

KINDS: tuple[type[Artifact], ...] = (RadianceFieldArtifact, SurfaceArtifact, LightFieldArtifact, VolumeArtifact)


A = TypeVar("A", bound=Artifact)


def of_kind(trained: Artifact, kind: type[A], purpose: str) -> A:
    """Check the kind of an artifact.

    Args:
        trained: Any artifact.
        kind: What it must be.
        purpose: What it is wanted for, as the subject of the message.

    Raises:
        CheckpointError: It is of another kind.
    """
    if not isinstance(trained, kind):
        raise CheckpointError(f"{purpose} a {kind.kind}; this is a {trained.kind}.")
    return trained


def of_scene(trained: Artifact, purpose: str) -> SceneArtifact:
    """Check that cameras can look at an artifact; ``purpose`` as for `of_kind`.

    Raises:
        CheckpointError: They cannot.
    """
    if not isinstance(trained, SceneArtifact):
        raise CheckpointError(f"{purpose} a model of a scene that cameras see; it is a {trained.kind}.")
    return trained


def rebuild(description: Mapping[str, Any], elements: int = LIMITS.elements) -> Artifact:
    """Build an untrained twin of what `Artifact.describe` described.

    Args:
        description: From a file of unknown origin.
        elements: Most weights: as many as the file holds.

    Returns:
        An artifact of the kind that its network is of, in evaluation mode, with its hooks or
        integer layers.

    Raises:
        ContainerError: A part is missing, a class is not ours, its arguments do not fit, or it costs too much.
    """
    try:
        class_path = Description.from_json(description["field"]).class_path
        kind = kind_of(class_path, KINDS)
        if kind is None:
            known = ", ".join(sorted(cls.__name__ for kind in KINDS for cls in kind.field_classes))
            raise ContainerError(
                f"The file asks for the class {class_path!r}; only {known} of nerfcomp.fields may be built."
            )
        check_described(description, kind, elements)
        trained = kind.rebuild(description)
        attach_described(trained.field, description.get("hooks", []))
        if INTEGERS_KEY in description:
            take_integers(trained.field, description[INTEGERS_KEY])
        return trained
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        if isinstance(error, ContainerError):
            raise
        raise ContainerError(f"The description of the trained field is incomplete or wrong: {error}") from error
