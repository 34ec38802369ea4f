"""The stages whose steps tune a trained field: each kind of field learns from its views as it does in training."""

from collections.abc import Callable
from typing import Any, NamedTuple, cast

from nerfcomp.artifacts.artifact import SceneArtifact
from nerfcomp.artifacts.light_field import LightFieldArtifact
from nerfcomp.artifacts.radiance_field import RadianceFieldArtifact
from nerfcomp.artifacts.surface import SurfaceArtifact
from nerfcomp.modules.evaluation import EvaluatedModule
from nerfcomp.modules.light_field import LightFieldModule
from nerfcomp.modules.radiance_field import RadianceFieldModule
from nerfcomp.modules.vanilla_nerf import VanillaNeRFModule
from nerfcomp.rendering import OccupancySampler


class StepSettings(NamedTuple):
    """What the steps of tuning cost and where they look, see `VanillaNeRFModule`."""

    training_sampler: OccupancySampler | None = None
    max_samples: int = 2**13
    coarse_share: float = 0.25
    empty_points: int = 512
    empty_weight: float = 0.01
    empty_margin: float = 1.0


def tuning_stage(start: SceneArtifact, settings: StepSettings) -> EvaluatedModule:
    """The stage that tunes a field: vanilla NeRFs both networks at once, other fields by the error of their colours.

    Args:
        start: The field, which the stage changes in place.
        settings: Of its steps.

    Returns:
        A stage with field and scene, whose ``step`` gives the losses; nothing of it has to be set up.
    """
    stage: Any = _STAGES[type(start)](start, settings)
    stage.scene = start.scene
    return cast(EvaluatedModule, stage)


def _radiance_field(start: Any, settings: StepSettings) -> EvaluatedModule:
    if start.field.deep:
        return VanillaNeRFModule(start.field, start.sampler, **settings._asdict())
    return RadianceFieldModule(start.field, start.sampler, opacity_weight=0.0, max_samples=settings.max_samples)


def _light_field(start: Any, settings: StepSettings) -> EvaluatedModule:
    stage = LightFieldModule(average=0.0)
    stage.student = stage.field = start.field  # what is tuned is what is shown
    return stage


_STAGES: dict[type[SceneArtifact], Callable[[Any, StepSettings], EvaluatedModule]] = {
    RadianceFieldArtifact: _radiance_field,
    SurfaceArtifact: _radiance_field,
    LightFieldArtifact: _light_field,
}
