"""What light fields need besides what all trained fields need: folding before use, and sensitivities of whole views."""

from collections.abc import Callable

import torch
from torch import Tensor

from nerfcomp.compression import measure_sensitivity, plain_parameters
from nerfcomp.fields import LightField
from nerfcomp.pipeline.trained import TrainedField
from nerfcomp.rays import camera_on
from nerfcomp.readers.posed import select_views


def folded(trained: TrainedField) -> TrainedField:
    """The same pictures from a light field without batch normalisation; any other field as it is."""
    if isinstance(trained.field, LightField) and trained.field.batch_norm:
        return trained._replace(field=trained.field.folded())
    return trained


def merged(trained: TrainedField) -> TrainedField:
    """The same pictures from a light field of the fewest layers (see `LightField.merged`); any other field as it is."""
    if isinstance(trained.field, LightField):
        return trained._replace(field=trained.field.merged())
    return trained


def view_sensitivity(trained: TrainedField, views: int = 8, seed: int = 0) -> dict[str, Tensor]:
    """Measure how much each weight of a light field matters to the pictures from its known poses.

    Args:
        trained: A folded light field and its scene.
        views: Number of random views.
        seed: Of the choice of views and of the estimator.

    Returns:
        Sensitivities by parameter name (see `measure_sensitivity`).
    """
    field = trained.field
    assert isinstance(field, LightField)
    trained.scene.warn_of_one_pose()
    generator = torch.Generator().manual_seed(seed)
    camera, bounds = trained.scene.camera, trained.scene.bounds

    def picture() -> Tensor:
        view = int(torch.randint(len(camera.c2w), (1,), generator=generator))
        return field.draw(camera_on(select_views(camera, [view]), trained.device), bounds)

    calls: list[Callable[[], Tensor]] = [picture] * views
    return measure_sensitivity(calls, plain_parameters(field), generator)
