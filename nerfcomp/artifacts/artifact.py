"""A trained model as a whole: the unit that checkpoints, bitstreams and evaluation handle.

An artifact is of one *kind*: a radiance field, a light field, ... The kind says how the model is described and rebuilt,
drawn, and made ready after its weights have changed, and which of its outputs a weight matters to. All other code asks
the artifact and knows no class of fields.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple, Self, TypeVar

import torch
from torch import Tensor, nn

from nerfcomp.artifacts.scene_info import SceneInfo
from nerfcomp.compression import baked_copy, describe_hooks, hooked_weights, needs_baking
from nerfcomp.errors import CheckpointError
from nerfcomp.fields import Field, describe_field, describe_integers
from nerfcomp.geometry.cameras import Camera
from nerfcomp.geometry.rays import RayBatch
from nerfcomp.readers.posed import spread
from nerfcomp.rendering import Rendered

F = TypeVar("F", bound=Field)
POSES = "poses"
_MOST_POSES = 24
_FLOAT16_REACH = 2.0**15  # of a coordinate, beyond which poses keep all their digits


class Multiplications(NamedTuple):
    """Multiplications with additions for one picture.

    Attributes:
        dense: With all weights.
        nonzero: With those weights only that are not exactly zero.
    """

    dense: int
    nonzero: int


@dataclass(frozen=True, kw_only=True)
class Artifact(ABC):
    """A trained model with all that using it needs.

    Attributes:
        field: The network, perhaps with hooks on its weights.
        qp: QP of every tensor of a network that is quantized already and only waits to be encoded; none otherwise.
        rounded: These tensors are multiples of their steps, not values of the trellis.
        kind: What the kind is called where people read it.
        field_classes: Classes of networks that are of this kind.
        parts: Keys of descriptions of this kind beside the field.
        compact: Whether its files may be so small that their header matters.
    """

    kind: ClassVar[str]
    field_classes: ClassVar[tuple[type[Field], ...]]
    parts: ClassVar[tuple[str, ...]] = ()
    compact: ClassVar[bool] = False

    field: Field
    qp: dict[str, int] | None = None
    rounded: bool = False

    @classmethod
    @abstractmethod
    def rebuild(cls, description: Mapping[str, Any]) -> Self:
        """Build an untrained twin of what `describe` described; the values come from a file of unknown origin.

        Raises:
            ContainerError: A class is not ours, or its arguments do not fit.
            KeyError: A part is missing.
            TypeError: A part is of the wrong type.
            ValueError: A part holds values that cannot be used.
        """

    @abstractmethod
    def sensitivity(self, seed: int = 0) -> dict[str, Tensor]:
        """Measure how much each weight matters to what the model puts out.

        Args:
            seed: Of the choice of outputs, and of the estimator.

        Returns:
            Sensitivities by parameter name (see `nerfcomp.compression.measure_sensitivity`).
        """

    def keep_lit(self) -> None:
        """Call empty what no known view shows, for ever, where a file says what is empty."""

    def keep_empty(self) -> None:
        """Call for ever empty what is empty now, where a file says what is."""

    def without_unseen(self) -> Self:
        """A copy in which empty is what no known view shows; raises `ValueError` where a file says nothing of it."""
        raise ValueError(
            f"drop_unseen is for fields whose files say what is empty, which those of a {self.kind} do not."
        )

    def rehearse(self, batches: int, seed: int = 0) -> None:
        """Compute what the model is for, without gradients, so that what is inside can be watched.

        Args:
            batches: How much: random rays, or views from known poses.
            seed: Of the choice.

        Raises:
            CheckpointError: Models of this kind cannot.
        """
        raise CheckpointError(f"What a {self.kind} computes cannot be watched; train it with its hooks instead.")

    def describe(self) -> dict[str, Any]:
        """Say in JSON values how this is rebuilt, weights apart."""
        quantized = {} if self.qp is None else {"qp": self.qp, **({"rounded": True} if self.rounded else {})}
        hooks = describe_hooks(self.field)
        described = {"field": describe_field(self.field)._asdict(), **describe_integers(self.field)}
        return {**described, **quantized, **({"hooks": hooks} if hooks else {})}

    def modules(self) -> dict[str, nn.Module]:
        """All that a checkpoint keeps the state of, by the prefix of its names there."""
        return {"field": self.field}

    def exact_tensors(self) -> dict[str, Tensor]:
        """What a bitstream carries beside the weights, bit for bit."""
        return {}

    def exact_shapes(self, promised: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        """Shapes of the `exact_tensors` that a file for this model holds.

        Args:
            promised: Shapes of all tensors that the file says it holds; files may leave some of them out.
        """
        return {name: tuple(value.shape) for name, value in self.exact_tensors().items()}

    def with_exact_tensors(self, tensors: Mapping[str, Tensor]) -> Self:
        """Take over what `exact_tensors` gave."""
        return self

    def read_rows(self) -> dict[str, Tensor]:
        """Rows of weights without which pictures are the same are those that are False here, bool (rows,) by name.

        A file leaves them out; whoever reads it finds the same rows from its `exact_tensors`.
        """
        return {}

    def prepare(self) -> None:
        """Make ready for pictures after the weights have changed."""

    def for_coding(self) -> Self:
        """The same pictures from a network in the form in which its weights are coded.

        Raises:
            ValueError: A hook on a weight can be neither baked nor carried.
        """
        return self.replace(field=baked_copy(self.field, keep_carried=True)) if needs_baking(self.field) else self

    def without_hooks(self) -> Self:
        """The same pictures from plain weights, which are what hooks make of them, and no longer quantized."""
        return self.replace(field=baked_copy(self.field), qp=None) if hooked_weights(self.field) else self

    def for_drawing(self) -> Self:
        """The same pictures from the fastest form of the network, which is not the one to encode."""
        return self.without_hooks()

    @abstractmethod
    def to_scene(self) -> "SceneArtifact":
        """What cameras see of the model."""

    def field_as(self, cls: type[F], purpose: str) -> F:
        """The network, which must be of one class.

        Args:
            cls: The class.
            purpose: What the network is wanted for, as the subject of the message.

        Raises:
            CheckpointError: It is of another class.
        """
        if not isinstance(self.field, cls):
            raise CheckpointError(f"{purpose} a {cls.__name__}; this is a {type(self.field).__name__}.")
        return self.field

    def bounded_layers(self) -> list[str]:
        """Weights whose quantization step must stay below their size; see `nerfcomp.compression.allocate_qp`."""
        return []

    def for_file(self) -> Self:
        """The same with as much of its description as a small file keeps."""
        return self

    def replace(self, **changes: Any) -> Self:
        """The same with other parts."""
        return replace(self, **changes)

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self.field.aabb.device

    def to(self, device: torch.device) -> Self:
        """Move the model, in place."""
        for module in self.modules().values():
            module.to(device)
        return self

    @contextmanager
    def evaluating(self) -> Iterator[Self]:
        """Everything as in an evaluation of these weights: no training mode, nothing stale, full precision."""
        training = [module for part in self.modules().values() for module in part.modules() if module.training]
        for part in self.modules().values():
            part.eval()
        try:
            with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
                self.prepare()
                yield self
        finally:
            for module in training:
                module.training = True


@dataclass(frozen=True, kw_only=True)
class SceneArtifact(Artifact):
    """A model of a scene that cameras look at.

    Attributes:
        scene: What a renderer must know.
        pixels_are_rays: Each pixel is drawn on its own, so that pictures may have any size and come in parts.
    """

    parts: ClassVar[tuple[str, ...]] = ("scene",)

    pixels_are_rays: ClassVar[bool] = True

    scene: SceneInfo

    def to_scene(self) -> "SceneArtifact":
        """The model itself."""
        return self

    @abstractmethod
    def draw(self, camera: Camera, background: Tensor | None = None) -> Rendered:
        """Draw one view, without gradients.

        Args:
            camera: One view, on any device.
            background: (3,) in [0, 1]; the scene's own when absent.

        Returns:
            Colour (H W, 3), depth (H W,) and opacity (H W,), rows from the top, on the model's device.
        """

    @abstractmethod
    def draw_batch(self, batch: RayBatch) -> Rendered:
        """Draw the whole view that a datamodule hands out, without gradients; results as of `draw`."""

    def multiplications(self) -> Multiplications | None:
        """What one picture of the scene's size takes; none where that depends on what is seen."""
        return None

    def describe(self) -> dict[str, Any]:
        """Say in JSON values how this is rebuilt, weights apart."""
        return {**super().describe(), "scene": self.scene.to_json()}

    def for_file(self) -> Self:
        """The same with the home view alone."""
        return self.replace(scene=self.scene._replace(poses=self.scene.poses[:1]))

    def exact_tensors(self) -> dict[str, Tensor]:
        """Poses that a file keeps beside the first, which stays exact in the header.

        Evenly spread, (V, 12) float16, which turns rays by 1e-3 at most. What weights mean to pictures is measured from
        them when a file is encoded again.
        """
        if len(self.scene.poses) == 1:
            return {}
        chosen = spread(list(range(len(self.scene.poses))), _MOST_POSES)[1:]
        poses = torch.tensor([self.scene.poses[view] for view in chosen])
        return {POSES: poses.half() if float(poses.abs().max()) < _FLOAT16_REACH else poses}

    def exact_shapes(self, promised: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        """Those of any number of poses; earlier files have none."""
        poses = {POSES: (min(promised[POSES][0], _MOST_POSES - 1), 12)} if POSES in promised else {}
        return super().exact_shapes(promised) | poses

    def with_exact_tensors(self, tensors: Mapping[str, Tensor]) -> Self:
        """Take over the poses."""
        further = tuple(tuple(pose) for pose in tensors[POSES].double().tolist()) if POSES in tensors else ()
        return self.replace(scene=self.scene._replace(poses=self.scene.poses + further))


def kind_of(class_path: str, kinds: Iterable[type[Artifact]]) -> type[Artifact] | None:
    """Find the kind whose networks a class path names; none when there is none."""
    name = class_path.rpartition(".")[2]
    return next((kind for kind in kinds if name in [cls.__name__ for cls in kind.field_classes]), None)
